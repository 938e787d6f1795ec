"""The kinds of models that `load` can take, and what each id stands for."""

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["ALIASES", "Choice", "INSTEAD", "MISTRAL_7B", "mini_path"]

MISTRAL_7B = "mistralai/Mistral-7B-v0.1"
ALIASES = {"mistral-7b": MISTRAL_7B}
PROPER = {"mini": "Mini-Mistral", "smollm2": "SmolLM2-135M"}
INSTEAD = 'or use MODEL_ID = "mini", which needs no network and no GPU'


@dataclass(frozen=True)
class Choice:
    """A model that `load` can take: its id, where it comes from, its kind, and why it was chosen.

    `kind` is "mini", "shape" or "checkpoint"; `folder` holds the files where they are on this machine already.
    """

    model_id: str
    source: str
    kind: str
    reason: str
    folder: Path | None = field(default=None, repr=False)
    download_bytes: int = field(default=0, repr=False)

    @property
    def name(self) -> str:
        """What a reader sees: the id, or the proper name of a model that has one."""
        return PROPER.get(self.model_id, self.model_id)


def mini_path() -> Path:
    """Folder of the small model that ships with the course, in transformers' format."""
    return Path(__file__).parent.parent / "mini" / "model"

"""Save whole or not at all, and make a folder fit to be public: for notebook 09."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from torch import nn

from . import files, memory, models, quiet, results
from .errors import CourseError

__all__ = [
    "PATH",
    "PLACE",
    "PRIVATE",
    "SHAREABLE",
    "TOKEN",
    "VOCABULARIES",
    "card",
    "dry_run",
    "folder_bytes",
    "forecast",
    "save",
]

SHAREABLE = {".safetensors", ".json", ".jinja", ".md", ".model", ".txt", ".png", ".jpg", ".jpeg", ".svg", ".gif"}
NAMED = {"LICENSE", "NOTICE", ".gitattributes"}  # files without an ending, or with nothing else
PICTURES = {".png", ".jpg", ".jpeg", ".gif"}
# Not for others: what a training run needs to go on, some of it in pickles, and notes of this machine.
PRIVATE = {"trainer_state.json", "recipe.json", "training_args.bin"}
PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}
VOCABULARIES = {"tokenizer.json", "vocab.json", "merges.txt"}  # they hold pieces of any text, paths included
TOKEN = re.compile(r"hf_[A-Za-z0-9]{30,}")
# Where people's files lie on other machines (a folder may come from one); of this machine any path that exists.
PLACE = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|work|content|mnt|tmp|var|opt)/[\w.]|[A-Z]:\\\\?Users")
PATH = re.compile(r"(?<![\w.:/-])(?:/[\w.@+-]+/[\w.@+-]+|[A-Z]:\\\\?[\w.@+-]+)")


def save(
    model: nn.Module,
    tokenizer,
    folder: str | Path,
    choice: models.Choice,
    write: Callable[[str], object] | None = None,
) -> int:
    """Save an adapter or a model with its tokenizer, whole or not at all; returns the bytes of the folder.

    The tokenizer goes along because its chat template is part of what was trained. peft writes the local path of the
    base into the adapter's configuration and into a card with blanks to fill: the first becomes `choice`'s public name,
    the second is left out (`card` writes one). `write` saves the model instead of its own `save_pretrained`.
    Raises CourseError for a full disk, an earlier folder being kept, and for a folder that holds somebody's files:
    replaced is only what an earlier `save` made, and what was added to that comes along.
    """
    folder = Path(folder).absolute()
    adapter = hasattr(model, "peft_config")
    tensors = [p for name, p in model.named_parameters() if not adapter or "lora_" in name]
    with files.replacing(folder, sum(t.numel() * t.element_size() for t in tensors)) as new, quiet.loading():
        (write or model.save_pretrained)(str(new))
        tokenizer.save_pretrained(new)
        (new / "training_args.bin").unlink(missing_ok=True)  # of Trainer's: a pickle, with folders of this machine
        if adapter:
            (new / "README.md").unlink(missing_ok=True)  # peft's card, with blanks
            _name_the_base(new / "adapter_config.json", choice)
    return folder_bytes(folder)


def _name_the_base(file: Path, choice: models.Choice) -> None:
    """Take the local path of the base out of a saved adapter's configuration, in favor of its public name."""
    config = json.loads(file.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = _public(choice)
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _public(choice: models.Choice) -> str:
    """A model's name without where it lies on this machine."""
    return Path(choice.model_id).name if choice.source == "local folder" else choice.model_id


def _on_hub(choice: models.Choice) -> bool:
    return choice.kind == "checkpoint" and choice.source != "local folder"


def _found(choice: models.Choice) -> str:
    """Where others find the base of an adapter, for its card."""
    if _on_hub(choice):
        return f"[{choice.model_id}](https://huggingface.co/{choice.model_id}) on the hub."
    if choice.kind == "shape":
        return f"a model of the shape {choice.model_id} with random weights: it exists for measuring alone."
    if choice.kind == "checkpoint":
        return f"{_public(choice)}, which is not on the hub. FILL IN WHERE OTHERS GET IT."
    weights = (models.mini_path() / "model.safetensors").read_bytes()
    return (
        f"{choice.name}, the small model of the course *Mistral-7B in 4 bits*, whose repository has it in the folder "
        f"`helpers/mini/model`. The SHA-256 of its `model.safetensors` is `{hashlib.sha256(weights).hexdigest()}`."
    )


def forecast(config, rank: int, plain: str = "bf16") -> dict[str, int]:
    """Bytes of weights of what one may save, from a configuration: the adapter, merged in 4 bits, merged in 16.

    The adapter is float32, of `rank`, on all linear layers; the scheme `plain` is that of the third.
    """
    adapter = memory.predict(config, "nf4-dq", stage="train", context=8, rank=rank).parts["adapters"]
    merged = (memory.predict(config, scheme).weight_bytes for scheme in ("nf4-dq", plain))
    return dict(zip(("adapter", "into 4 bits", "into dequantized"), (adapter, *merged), strict=True))


def folder_bytes(folder: str | Path, pattern: str = "*") -> int:
    """Bytes of a folder's files."""
    return sum(path.stat().st_size for path in Path(folder).rglob(pattern) if path.is_file())


def card(choice: models.Choice, recipe, rows: Sequence[dict], about: str) -> str:
    """Return a model card for an adapter, in the hub's format: what it is, how it was made, `rows` as a table.

    `rows` are measured figures, one dict a row with the same keys; `about` says on what they were measured. The card
    says where others find the base, in its header only if that is on the hub, and names no license: that one is the
    author's to choose.
    """
    from huggingface_hub import ModelCard, ModelCardData

    name, on_hub = choice.name if choice.kind == "mini" else _public(choice), _on_hub(choice)
    data = ModelCardData(
        base_model=name if on_hub else None,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", "qlora", "4-bit"],
    )
    chosen = {key: value for key, value in asdict(recipe).items() if value is not False and value != "auto"}
    settings = ", ".join(f"{key} {value}" for key, value in chosen.items())
    versions = ", ".join(f"{key} {value}" for key, value in results.environment()["versions"].items())
    text = f"""# Adapter for {name}

LoRA of rank {recipe.rank}, trained on {name} in NF4 with double quantization (QLoRA). It belongs to that 4-bit model:
load it there, unmerged. Merged, it may become another model; the table says how far each merge is from unmerged.

## The base

{_found(choice)[0].upper() + _found(choice)[1:]}

## Measured

{about}

{results.markdown_table(rows)}

## Use

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                         bnb_4bit_compute_dtype="bfloat16")
base = AutoModelForCausalLM.from_pretrained("{name if on_hub else "FOLDER_OF_THE_BASE"}", quantization_config=nf4)
model = PeftModel.from_pretrained(base, "FOLDER_OR_ID_OF_THIS_ADAPTER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER_OR_ID_OF_THIS_ADAPTER")  # with the chat template it was trained in
```

## Training

{settings}. Made with {versions}.
"""
    model_card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")
    return str(model_card)


def dry_run(folder: str | Path, repo_id: str) -> list[dict]:
    """Return the files that `hf upload REPO_ID FOLDER` would send, as dicts of `file` and `bytes`; sends nothing.

    Raises CourseError for a name that the hub does not take, a folder without a card, and for what is not for others:
    states of a training run and pickles, an access token, a path of this machine.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects, validate_repo_id

    folder = Path(folder)
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        raise CourseError(f"{repo_id!r} is no name for the hub: use owner/name.") from None
    if not (folder / "README.md").is_file():
        raise CourseError(
            f"{folder.name} has no README.md: write a card first, nobody can use what they know nothing of."
        )
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = list(filter_repo_objects(names, ignore_patterns=DEFAULT_IGNORE_PATTERNS))
    for name in names:
        path = folder / name
        if path.name in PRIVATE or path.suffix in PICKLES:
            raise CourseError(
                f"{name} is not for others (a training run's state, or a pickle): move it out of the folder."
            )
        if path.suffix not in SHAREABLE and path.name not in NAMED:
            raise CourseError(
                f"{name} is not what others expect beside an adapter (weights, configuration, text, pictures): move it "
                "out of the folder."
            )
        if path.name not in VOCABULARIES and path.suffix not in PICTURES and (secret := _private(_text(path))):
            raise CourseError(f"{name} holds {secret}: take it out before anything is sent.")
    return [{"file": name, "bytes": (folder / name).stat().st_size} for name in names]


def _text(path: Path) -> str:
    """A file's text; of safetensors the header, which may hold notes beside the tensors' names."""
    if path.suffix != ".safetensors":
        return path.read_text(encoding="utf-8", errors="replace")
    with path.open("rb") as file:
        return file.read(int.from_bytes(file.read(8), "little")).decode("utf-8", "replace")


def _private(text: str) -> str | None:
    if TOKEN.search(text):
        return "what looks like an access token"
    home = str(Path.home())
    here = any(Path(path).exists() for path in PATH.findall(text))
    if here or PLACE.search(text) or len(home) > 1 and home in text:
        return "a path of this machine"
    return None

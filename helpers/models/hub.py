"""Everything that is asked of the Hugging Face hub and of its cache on this machine."""

import json
import shutil
import threading
from pathlib import Path

from ..errors import CourseError
from .kinds import INSTEAD, Choice

__all__ = [
    "ANNOUNCE_FROM",
    "CHECKPOINT_FILES",
    "HUB_TIMEOUT",
    "REFUSALS",
    "ask",
    "cached",
    "disk_free",
    "download",
    "weight_files",
]

HUB_TIMEOUT = 3.0  # seconds the hub gets to answer before it counts as unreachable
ANNOUNCE_FROM = 1e9  # bytes: a larger download is announced before it starts
# The files a checkpoint needs; `consolidated.safetensors` and `*.bin` would download the same weights a second time.
CHECKPOINT_FILES = ["config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json"]
CHECKPOINT_FILES += ["tokenizer*", "special_tokens_map.json", "chat_template*", "vocab.json", "merges.txt"]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder; empty if one is missing."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError):
            return []
    else:
        names = ["model.safetensors"]
    files = [folder / name for name in names]
    return files if all(file.is_file() for file in files) else []


def cached(repo: str) -> Path | None:
    """Folder of a complete snapshot in the local hub cache, or None; asks no network."""
    from huggingface_hub import constants, try_to_load_from_cache

    path = try_to_load_from_cache(repo, "config.json", cache_dir=constants.HF_HUB_CACHE)
    folder = Path(path).parent if isinstance(path, str) else None
    return folder if folder and weight_files(folder) else None


def ask(repo: str, timeout: float = HUB_TIMEOUT) -> tuple[str, int]:
    """("granted", bytes to download) or ("gated" | "missing" | "unsafe" | "unreachable" | "offline", 0).

    Answers within `timeout` seconds whatever the network does: the question is asked in a thread of its own, because
    a name look-up and `auth_check` know no time limit.
    """
    from fnmatch import fnmatch

    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return "offline", 0
    answer = ["unreachable", 0]

    def query():
        try:
            HfApi().auth_check(repo)
            files = HfApi().model_info(repo, files_metadata=True, timeout=timeout).siblings or []
        except GatedRepoError:  # a kind of RepositoryNotFoundError, so it comes first
            answer[0] = "gated"
        except (RepositoryNotFoundError, HFValidationError):
            answer[0] = "missing"
        except Exception:  # every library has its own errors for "no answer"
            answer[0] = "unreachable"
        else:
            wanted = [f for f in files if any(fnmatch(f.rfilename, pattern) for pattern in CHECKPOINT_FILES)]
            safe = any(f.rfilename.endswith(".safetensors") for f in wanted)
            answer[:] = ("granted", sum(f.size or 0 for f in wanted)) if safe else ("unsafe", 0)

    thread = threading.Thread(target=query, daemon=True)
    thread.start()
    thread.join(timeout)
    return ("unreachable", 0) if thread.is_alive() else (answer[0], answer[1])


REFUSALS = {
    "gated": "asks for its license to be accepted: accept it on its hub page, log in with `hf auth login`",
    "missing": "was not found on the hub: check the spelling (owner/name), log in if it is private",
    "unsafe": "has no safetensors weights on the hub, and nothing else is loaded: choose another id",
    "unreachable": f"is not in the local cache and the hub did not answer within {HUB_TIMEOUT:.0f} s: "
    "check the network",
    "offline": "is not in the local cache and HF_HUB_OFFLINE is set: unset it",
}


def disk_free() -> int:
    """Bytes free where the hub cache is, or will be; CourseError if that place cannot be looked at."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE).absolute()
    try:
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise CourseError(
            f"The folder of the hub cache cannot be read ({error.strerror}): point HF_HOME at a folder of yours."
        ) from error


def download(choice: Choice) -> Path:
    """Fetch a hub model's safetensors and tokenizer files into the hub cache; says the size first if it is large."""
    from huggingface_hub import constants, snapshot_download

    size, free = choice.download_bytes, disk_free()
    if size > free:
        raise CourseError(
            f"{choice.model_id} is {size / 1e9:.1f} GB to download and the hub cache's disk has {free / 1e9:.1f} GB "
            f"free: make room, point HF_HOME at a larger disk, {INSTEAD}."
        )
    if size > ANNOUNCE_FROM:
        print(
            f"Downloading {size / 1e9:.1f} GB of {choice.model_id}, once. "
            'To say no, interrupt this cell and set MODEL_ID = "mini".'
        )
    try:
        folder = snapshot_download(choice.model_id, allow_patterns=CHECKPOINT_FILES, cache_dir=constants.HF_HUB_CACHE)
    except Exception as error:
        raise CourseError(
            f"The download of {choice.model_id} broke off ({type(error).__name__}): run the cell again to go on, "
            f"{INSTEAD}."
        ) from error
    return Path(folder)

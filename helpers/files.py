"""Files that are whole or not there: what was there before survives a full disk and a Ctrl-C."""

import errno
import os
from pathlib import Path

__all__ = ["disk_is_full", "write"]


def write(path: Path, text: str) -> None:
    """Write the whole file or leave the old one: what was there survives a full disk and a Ctrl-C."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def disk_is_full(error: BaseException) -> bool:
    """Whether an error says that there is no room; torch and safetensors wrap what the system says."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)

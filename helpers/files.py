"""Files that are whole or not there, and a guard over files that are not ours.

Whatever the course replaces or removes goes through this module. A folder that it wrote holds a list of what it put
there (`MADE`); what is not on that list belongs to somebody, and is neither replaced nor removed.
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import CourseError

__all__ = ["MADE", "beside", "claim", "disk_is_full", "made", "ours", "remove", "replacing", "write"]

MADE = ".mistral-4bit.json"  # in each folder that the course wrote: the names of what it put there


def write(path: Path, content: str | bytes) -> None:
    """Write the whole file or leave the old one: what was there survives a full disk and a Ctrl-C."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            temporary.write_text(content, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def disk_is_full(error: BaseException) -> bool:
    """Whether an error says that there is no room; torch and safetensors wrap what the system says."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)


def made(folder: Path) -> set[str]:
    """The names in a folder that the course has noted as its own."""
    return set(_noted(folder).get("files", ()))


def _noted(folder: Path) -> dict:
    """What the course has noted in a folder: its `files`, and whether the folder as a `whole` is its own."""
    try:
        noted = json.loads((folder / MADE).read_text(encoding="utf-8"))
        return {"files": [str(name) for name in noted["files"]], "whole": noted.get("whole") is True}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _note(folder: Path, names: Iterable[str], whole: bool) -> None:
    write(folder / MADE, json.dumps({"whole": whole, "files": sorted(names)}, indent=1) + "\n")


def ours(folder: Path) -> None:
    """Raise CourseError unless a whole folder may be replaced: it is new, empty, or was so when the course claimed it.

    A folder of somebody's, into which the course was asked to write a few files, is not its own for that.
    """
    if not os.path.lexists(folder):
        return
    here = Path.cwd()
    if not folder.is_dir() or folder.is_symlink():
        raise CourseError(f"{folder} is not a folder: choose another name.")
    if folder.resolve() in (here, *here.parents, Path.home()):
        raise CourseError(f"{folder} is a folder that you work in, and it would be replaced: name a new one.")
    names = sorted(path.name for path in folder.iterdir() if path.name not in {MADE, *made(folder)})
    if names and not _noted(folder).get("whole"):
        raise CourseError(
            f"{folder} holds files that the course did not make ({names[0]}{' …' if names[1:] else ''}), and it "
            "replaces nobody's files: name a new folder."
        )


def claim(folder: Path, names: Iterable[str] | None = None) -> None:
    """Make a folder and note what is about to be written there, or raise CourseError and touch nothing.

    `names` are files, of which none may be there unless the course made it; without names the folder as a whole has to
    be `ours`. That it can be written to is tried at once, before any work is done for it.
    """
    folder = Path(folder)
    if names is None:
        ours(folder)
    elif foreign := sorted(name for name in set(names) - made(folder) if os.path.lexists(folder / name)):
        raise _theirs(folder, foreign[0])
    try:
        _note(folder, made(folder) | set(names or ()), names is None or _noted(folder).get("whole", False))
    except OSError as error:
        why = "the disk is full" if disk_is_full(error) else error.strerror or type(error).__name__
        raise CourseError(f"Nothing can be written to {folder} ({why}): choose another folder.") from error


def _theirs(folder: Path, name: str) -> CourseError:
    return CourseError(
        f"{folder} holds {name}, which the course did not make and would overwrite: move it, or choose another folder."
    )


def remove(path: Path) -> None:
    """Remove a file that the course has noted, or anything in a folder that is its own as a whole.

    What is not there is no error. Raises CourseError elsewhere: what the course did not make it does not remove.
    """
    if path.name not in made(path.parent) and not _noted(path.parent).get("whole"):
        raise CourseError(f"{path} was not made by the course, and is left where it is.")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def beside(folder: Path) -> tempfile.TemporaryDirectory:
    """A hidden folder on the same disk as `folder`; CourseError if that is not `ours` or nothing can be written there.

    Entered and left at once it tries a target before the work for it begins.
    """
    ours(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent)
    except OSError as error:
        raise CourseError(f"{folder} cannot be written ({error.strerror}): choose another folder.") from error


@contextlib.contextmanager
def replacing(folder: Path, needed: int = 0) -> Iterator[Path]:
    """A new folder beside `folder` that takes its place once it is complete; if it cannot be, all is as before.

    `needed` are the bytes that it takes. Files that somebody put beside what the course wrote there come along. Raises
    CourseError for a folder that is not `ours`, too little room, and a disk that becomes full.
    """
    kept = "what was saved there before is kept" if folder.exists() else "nothing is left behind"
    with beside(folder) as hidden:
        free = shutil.disk_usage(hidden).free
        if needed > free:
            raise CourseError(
                f"{folder.name} takes {needed / 1e9:,.3g} GB and {free / 1e9:,.3g} GB of disk are free; {kept}: make "
                "room or choose another folder."
            )
        new, old = Path(hidden) / "new", Path(hidden) / "old"
        try:
            yield new
            names = sorted(path.name for path in new.iterdir())
            for path in folder.iterdir() if folder.exists() else ():
                if path.name in {MADE, *made(folder)}:
                    continue
                if path.name in names:
                    raise _theirs(folder, path.name)
                (shutil.copytree if path.is_dir() else shutil.copy2)(path, new / path.name)
            _note(new, names, whole=True)
        except Exception as error:
            if not disk_is_full(error):
                raise
            raise CourseError(
                f"The disk became full while {folder.name} was saved; {kept}: make room or choose another folder."
            ) from error
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise

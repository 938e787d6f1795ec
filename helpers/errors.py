"""The one exception whose message is written for the learner, and what to quote of the others."""

import re

__all__ = ["CourseError", "first_line"]


class CourseError(Exception):
    """One sentence that says what was wrong and what to do; notebooks show it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"CourseError: {self}"]


def first_line(error: BaseException) -> str:
    """An error's first line, without the folders of this machine and a full stop."""
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip().rstrip(".")
    return re.sub(r"(?:/[^\s/'\"]+)+/", "", line)[:160]

"""The one exception whose message is written for the learner."""


class CourseError(Exception):
    """One sentence that says what was wrong and what to do; notebooks show it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"CourseError: {self}"]

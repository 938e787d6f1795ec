"""Execute the notebooks of the map with papermill, strictly, and collect what they record: `python -m helpers.run`.

`execute` runs one notebook and raises NotebookError, one sentence, for everything that papermill lets pass: an unknown
parameter, a missing `parameters` tag, a missing or wrong record, a kernel that died. `each` runs many, several at a
time, and lets nothing run beside a cell that measures time.
"""

import signal
import sys

if sys.argv[:1] == ["-m"]:  # this is becoming a program: Ctrl-C ends in a sentence while it is still importing, too
    signal.signal(signal.SIGINT, lambda *_: (print("\nStopped: nothing was run.", file=sys.stderr), sys.exit(130)))

from .batch import Job, at_once, each, jobs  # noqa: E402
from .course import NOTEBOOKS, ROOT, TIMING, course_map, map_problems, measures_time, select, titles
from .engine import CELL_TIMEOUT, QUIET, execute
from .outcome import NotebookError, NotebookRun
from .outputs import SOURCES, WIDGET_VIEW, clean, sources
from .rules import parameters_of

__all__ = [
    "CELL_TIMEOUT",
    "Job",
    "NOTEBOOKS",
    "NotebookError",
    "NotebookRun",
    "QUIET",
    "ROOT",
    "SOURCES",
    "TIMING",
    "WIDGET_VIEW",
    "at_once",
    "clean",
    "course_map",
    "each",
    "execute",
    "jobs",
    "map_problems",
    "measures_time",
    "parameters_of",
    "select",
    "sources",
    "titles",
]

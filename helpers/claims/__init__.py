"""The claims of a guide, what each is judged by, and what the machine at hand measures of it: for notebook 10."""

from .brief import brief
from .claim import CLAIMS, FAULTS, OF_THE_LIBRARY, Claim, Verdict, combined, fault, judge, witnessed
from .kernel import with_kernel
from .margins import FOLLOWED, MARGINS, NEGLIGIBLE, TOLERANCE, inside, settled
from .rewritten import guide
from .verdicts import unpaired_z

__all__ = [
    "CLAIMS",
    "FAULTS",
    "FOLLOWED",
    "Claim",
    "MARGINS",
    "NEGLIGIBLE",
    "OF_THE_LIBRARY",
    "TOLERANCE",
    "Verdict",
    "brief",
    "combined",
    "inside",
    "fault",
    "guide",
    "judge",
    "settled",
    "unpaired_z",
    "with_kernel",
    "witnessed",
]

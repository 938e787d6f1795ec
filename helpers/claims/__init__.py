"""The claims of a guide, what each is judged by, and what the machine at hand measures of it: for notebook 10."""

from .claim import CLAIMS, Claim, Verdict, combined, judge
from .kernel import with_kernel
from .margins import MARGINS, NEGLIGIBLE, equivalence
from .rewritten import guide
from .verdicts import unpaired_z

__all__ = [
    "CLAIMS",
    "Claim",
    "MARGINS",
    "NEGLIGIBLE",
    "Verdict",
    "combined",
    "equivalence",
    "guide",
    "judge",
    "unpaired_z",
    "with_kernel",
]

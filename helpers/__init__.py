"""Helpers of the course *Mistral-7B in 4 bits*: one module a subject, nothing heavy imported here."""

from . import quiet  # noqa: F401  (drops two notices of bitsandbytes, whichever module comes next)

__version__ = "0.1.0"

"""Helpers of the course *Mistral-7B in 4 bits*: one module a subject, nothing heavy imported here."""

__version__ = "0.1.0"

"""English that every Python carries: its own language reference, for measuring a model on text that nobody made up.

It is read where it is installed and not copied into the course (PSF license). The text of some topics changes from
version to version; those named here are the same in Python 3.11, 3.12 and 3.13.
"""

import hashlib

from .errors import CourseError

__all__ = ["SHA256", "article", "language_reference"]

TOPICS = """
assert bitwise bltin-code-objects bltin-ellipsis-object bltin-null-object bltin-type-objects booleans break
callable-types calls comparisons context-managers continue del dynamic-features else exceptions for global id-classes if
import in integers lambda operator-summary pass return slicings typesfunctions typesmodules unary while with yield
""".split()
SHA256 = "b4d266070d28a404f1a45c5af4fbb6b67822657c138b80cf9d69ac6bedd5e7a3"  # of all of them, one a line


def language_reference() -> list[str]:
    """The texts of 35 topics of Python's language reference, 65,289 characters, the same on each supported Python.

    Raises CourseError where this Python has other texts, with which perplexities could not be compared.
    """
    try:
        from pydoc_data.topics import topics

        texts = [topics[name] for name in TOPICS]
    except (ImportError, KeyError):
        texts = []
    if hashlib.sha256("\n".join(texts).encode()).hexdigest() != SHA256:
        raise CourseError(
            "This Python's language reference is another text than that of Python 3.11 to 3.13, so perplexities on it "
            "could not be compared: use one of those versions."
        )
    return texts


def article(tokenizer, most: int) -> list[str]:
    """As many topics as `most` tokens allow, in order; one that is too long for the rest is left out."""
    chosen, left = [], most
    for text in language_reference():
        tokens = len(tokenizer(text).input_ids)
        if tokens <= left:
            chosen.append(text)
            left -= tokens
    return chosen

"""Numbers as the verdicts and the rewritten guide say them."""

__all__ = ["changed", "listed", "points_lost", "signed", "span"]


def signed(value: float, form: str) -> str:
    """A number with its sign, and a minus that is as long as a plus."""
    return format(value, f"+{form}").replace("-", "−")


def listed(names: list[str], none: str = "none") -> str:
    """Several things as in a sentence: "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or none


def changed(value: float, low: float, high: float) -> str:
    """A relative change with its interval."""
    return f"{signed(value, '.2%')} (95% interval: {signed(low, '.2%')} to {signed(high, '.2%')})"


def points_lost(quality) -> str:
    """Loss of a quiz in points with its interval; a gain is a loss below zero."""
    change, low, high = quality["accuracy"]
    points, least, most = (f"{-100 * value + 0.0:.2f}".replace("-", "−") for value in (change, high, low))
    return f"{points} points ({least} to {most}) on {quality['questions']:,} questions"


def span(ratio) -> str:
    """A ratio of speeds, and the whole range of what was seen."""
    return "{:.2f}× ({:.2f}–{:.2f})".format(*ratio)

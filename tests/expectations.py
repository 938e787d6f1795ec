"""What each notebook has to record: bounds from both sides, and the parameters that make a test run short.

Add a notebook: a function that takes the recorded values and asserts, registered under the file's name.

    @expect("05_measure_memory")
    def measure_memory(v):
        between(v["nf4_gb"] / v["bf16_gb"], 0.2, 0.6)
        assert v["schemes"] == ["bf16", "nf4"]

Bounds hold for the embedded model on any CPU. They come from a measured value and its spread, never from hope; a test
scales the recorded numbers and wants to see every function fail. Put slow parts' parameters into SMALL.
"""

from collections.abc import Callable

EXPECT: dict[str, Callable[[dict], None]] = {}

# Parameters that make a notebook short without changing what is asserted; the pass with solutions uses SOLVED on top.
SMALL: dict[str, dict] = {}
SOLVED: dict[str, dict] = {}


def expect(name: str) -> Callable:
    """Register the decorated function as the expectations on notebook `name`."""

    def register(function: Callable[[dict], None]) -> Callable[[dict], None]:
        assert name not in EXPECT, f"{name} has its expectations already"
        EXPECT[name] = function
        return function

    return register


def between(value: float, low: float, high: float, what: str = "value") -> None:
    """Assert low <= value <= high, and say by how much it misses."""
    assert low < high, f"{what}: the bounds {low} and {high} leave nothing between them"
    assert low <= value <= high, f"{what} is {value:g}, outside {low:g} to {high:g}"

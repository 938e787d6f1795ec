"""What was measured of the claims that notebook 10 follows, in a few words for a table."""

from math import hypot

from .claim import CLAIMS
from .wording import changed, points_lost, signed

__all__ = ["brief"]


def _saved(loaded, size) -> str:
    return f"{loaded['saved']:.1%} saved"


def _added(compute) -> str:
    added = hypot(compute["quantization"], compute["float16"]) / compute["quantization"] - 1
    return f"float16 adds {100 * added:.1g}%; inputs {compute['room']:,.0f} times as large would fit"


def _speeds(speed) -> str:
    ratios = [ratio for part in ("by batch", "over fp32") for ratio in (speed.get(part) or {}).values()]
    return f"{min(low for _, low, _ in ratios):.2f}× to {max(high for *_, high in ratios):.2f}×"


def _lost(quality) -> str:
    rise, points = quality["nf4-dq over 16 bits"][0], points_lost(quality).split(" (")[0]
    return f"perplexity {signed(rise, '.1%')}, and {points} lost"


SAID = {
    "saves": _saved,
    "fp16": _added,
    "faster": _speeds,
    "loss": _lost,
    "dq-loss": lambda quality: f"perplexity {changed(*quality['nf4-dq over nf4']).replace('95% interval: ', '')}",
    "mmlu": lambda mmlu: "nothing",
    "2gb": lambda training: f"at least {training['forecast_gb']:.2f} GB, by forecast",
    "targets": lambda sweep: (
        "{:.0f} points behind ({:.0f}–{:.0f}), or {:.1f} ({:.1f}–{:.1f}) with as many parameters".format(
            *(100 * value for value in sweep["behind"] + sweep["behind at equal size"])
        )
    ),
}


def brief(id: str, measured: dict[str, dict]) -> str:
    """What was measured of a claim, by model: "60.3% saved (Mini-Mistral); 71.5% saved (Mistral-7B's shapes)".

    What all models say alike is said once, and a model that was not measured is left out.
    """
    said = {}
    for name, found in measured.items():
        parts = [found.get(need) for need in CLAIMS[id].needs]
        if all(part is not None for part in parts):
            said.setdefault(SAID[id](*parts), name)
    if len(said) < 2:
        return next(iter(said), "nothing")
    return "; ".join(f"{text} ({name})" for text, name in said.items())

"""What notebook 11's kernel, from its recording, adds to a measurement of speed."""

__all__ = ["ratios_with_kernel", "with_kernel"]


def ratios_with_kernel(speed) -> str:
    """The ratios of `with_kernel`, with the range of what was seen."""
    shown = {way: f"{r['median']:.2f}× ({r['low']:.2f}–{r['high']:.2f})" for way, r in speed["kernel"].items()}
    told = [text if way == "plain" else f"{text} with the rest of a step {way} in both" for way, text in shown.items()]
    return ", and ".join(told)


def with_kernel(speed: dict | None, bench: dict) -> dict | None:
    """A measurement of speed with what notebook 11's kernel made of decoding, from the recorded part "kernels".

    Adds how many times bf16's speed nf4-dq then has at batch 1, by what was done to the rest of a step: the median,
    and the least and most that the quartiles of all processes allow. None stays None.
    """
    if speed is None:
        return None
    ways = {}
    for way in ("plain", "fused"):
        ratios = []
        for run in (bench, *([bench["again"]] if "again" in bench else [])):
            slow, fast = (run["decode"][scheme].get(way, {}).get("ms") for scheme in ("bf16", "kernel"))
            if slow and fast:
                ratios.append([slow[a] / fast[b] for a, b in (("median", "median"), ("low", "high"), ("high", "low"))])
        if ratios:
            medians, lows, highs = zip(*ratios, strict=True)
            ways[way] = {"median": sum(medians) / len(medians), "low": min(lows), "high": max(highs)}
    return {**speed, "kernel": ways}

"""The figure of notebook 10 on speed."""

import matplotlib.pyplot as plt
import numpy as np

from .. import plots
from .margins import TOLERANCE

__all__ = ["speeds"]

BASES = {"16 bits": ("by batch", "o"), "FP32": ("over fp32", "s")}


def speeds(measured: dict[str, dict | None]) -> None:
    """Ratios of speed by batch, over 16 bits and over FP32, with their ranges, beside the guide's band.

    `measured` maps a label to what `measure.decoding` returns; None is left out.
    """
    plots.style()
    fig, ax = plt.subplots(figsize=(8, 4.2))
    found = {label: speed for label, speed in measured.items() if speed}
    best = max((ratio[0] for speed in found.values() for ratio in speed["by batch"].values()), default=0)
    batches = sorted({int(batch) for speed in found.values() for batch in speed["by batch"]})
    for k, (label, speed) in enumerate(found.items()):
        for base, (part, marker) in BASES.items():
            if not (ratios := speed.get(part)):
                continue
            middle, low, high = np.array([*ratios.values()]).T
            places = [batches.index(int(batch)) + 0.1 * (2 * k + (base == "FP32")) for batch in ratios]
            look = {"color": plots.PALETTE[k], "mfc": plots.PALETTE[k] if base == "16 bits" else "white", "ms": 8}
            errors = [middle - low, high - middle]
            ax.errorbar(places, middle, errors, fmt=marker, capsize=3, label=f"{label}, over {base}", **look)
    ax.axhspan(2 * (1 - TOLERANCE), 3, color="#dddddd", zorder=0, label="the guide's 2–3×, less a tenth")
    ax.axhline(1, color="black", ls="--", lw=1)
    ax.set_xticks([i + 0.15 for i in range(len(batches))], batches)
    ax.set(xlabel="batch", ylabel="speed of nf4-dq, times the other's", ylim=(0, 3.9), xlim=(-0.4, len(batches) - 0.2))
    ax.set_title(f"bitsandbytes over 16 bits: the best of these, {best:.2f}×" if best else "Nothing measured here")
    ax.legend(ncols=2, fontsize=10)
    plots.show(fig, "Speed of the 4-bit model relative to 16 bits and to FP32 by batch, with the guide's band.")

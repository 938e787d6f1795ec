"""One look for all figures: told apart without color, shown once, described in words."""

import base64
import io

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.colors import to_hex

from helpers import plots
from helpers.memory import MemoryBudget

SCHEMES = ["fp32", "fp16", "bf16", "int8", "fp4", "nf4", "nf4-dq"]


def test_every_scheme_has_its_own_color_marker_and_hatching():
    for look in (plots.SCHEME_COLORS, plots.SCHEME_MARKERS, plots.SCHEME_HATCHES):
        assert list(look) == SCHEMES and len(set(look.values())) == len(SCHEMES)
    assert set(plots.SCHEME_COLORS.values()) < set(plots.PALETTE)


def test_show_displays_once_closes_and_describes(displayed):
    fig = plots.bars(["nf4", "bf16"], [1, 2], title="Half", ylabel="GB")
    number = fig.number
    assert plots.show(fig, "Bars of\n two *schemes*.") is None
    image, words = displayed
    pixels = matplotlib.image.imread(io.BytesIO(base64.b64decode(image["data"]["image/png"])))
    assert 600 < pixels.shape[1] < 1000 and 300 < pixels.shape[0] < 700
    assert np.all(pixels[0, :, :3] == 1.0)  # a white ground, whatever the page's theme
    assert image["metadata"] == {"image/png": {"alt": "Bars of two *schemes*."}}
    assert words["data"]["text/markdown"] == "*Bars of two schemes.*"
    assert not plt.fignum_exists(number)


def test_the_same_figure_gives_the_same_bytes(displayed):
    for _ in range(2):
        plots.show(plots.lines([1, 2], {"nf4": [1, 2]}, title="T", xlabel="x", ylabel="y"), "A line.")
    assert displayed[0]["data"] == displayed[2]["data"]
    # nor does the file name the library that drew it, whose next version would change every recorded output
    assert b"Software" not in base64.b64decode(displayed[0]["data"]["image/png"])


def test_a_figure_needs_a_title_and_a_description():
    with pytest.raises(ValueError, match="title"):
        plots.bars(["a"], [1], title="", ylabel="GB")
    fig = plots.bars(["a"], [1], title="T", ylabel="GB")
    with pytest.raises(ValueError, match="sentence"):
        plots.show(fig, " ")
    plt.close(fig)


def test_style_holds_for_a_block_or_from_now_on():
    rcParams["font.size"] = 7
    with plots.style():
        assert rcParams["font.size"] == plots.RC["font.size"]
    assert rcParams["font.size"] == 7
    plots.style()
    assert rcParams["font.size"] == plots.RC["font.size"]


def test_bars_draw_their_values_in_the_schemes_colors():
    fig = plots.bars(["int8", "nf4"], [7.5, 4.5], title="T", ylabel="GB", errors=[0.5, 0.25])
    (ax,) = fig.axes
    drawn = [(patch.get_height(), to_hex(patch.get_facecolor()).upper(), patch.get_hatch()) for patch in ax.patches]
    assert drawn == [(7.5, "#E69F00", ".."), (4.5, "#009E73", "--")]
    assert [(text.get_text(), text.xy[1]) for text in ax.texts] == [("7.5", 8.0), ("4.5", 4.75)]
    plt.close(fig)


def test_stacked_bars_end_in_their_totals():
    fig = plots.stacked_bars(["a", "b"], {"codes": [3, 1], "rest": [0.5, 2]}, title="T", xlabel="GB")
    (ax,) = fig.axes
    ends = [patch.get_x() + patch.get_width() for patch in ax.patches]
    assert ends == [3, 1, 3.5, 3] and [text.get_text() for text in ax.texts] == ["3.5", "3"]
    plt.close(fig)


def test_a_part_has_one_color_in_every_figure_and_no_other_part_has_it():
    colors = {part: color.lower() for part, color in plots.PART_COLORS.items()}
    assert len(set(colors.values())) == len(colors)
    few = plots.stacked_bars(["a"], {"KV cache": [1]}, title="T", xlabel="GB", colors=colors)
    many = plots.stacked_bars(["a"], {"codes": [1], "KV cache": [1]}, title="T", xlabel="GB", colors=colors)
    looks = [(to_hex(patch.get_facecolor()), patch.get_hatch()) for fig in (few, many) for patch in fig.axes[0].patches]
    assert looks[0] == looks[2] != looks[1]
    budget = MemoryBudget({"codes": 3, "kv_cache": 1}, "T").figure()
    drawn = [to_hex(patch.get_facecolor()) for patch in budget.axes[0].patches]
    assert drawn == [looks[1][0], looks[0][0]] == [colors["codes"], colors["KV cache"]]


def test_lines_are_never_told_apart_by_color_alone_nor_share_one():
    series = {"nf4": [1, 2], "fp4": [2, 3], **{f"other {i}": [i, i] for i in range(5)}}
    fig = plots.lines([64, 128], series, title="T", xlabel="block", ylabel="error", logx=True)
    (ax,) = fig.axes
    assert len({line.get_color() for line in ax.lines}) == len(series)
    assert len({line.get_marker() for line in ax.lines}) == len(series)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["64", "128"]
    plt.close(fig)

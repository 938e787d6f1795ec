"""Draw the README's two pictures, the map in each notebook, and the films: `make picture`. Tests hold them to the code.

One picture is made from forecasts and recorded results, the other one is the map of the course. Films are GIFs.
"""

import base64
import json
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
from PIL import Image

from helpers import draw, memory, models, nf4, plots, results, run, speed
from helpers.draw import moving
from helpers.draw.course import described

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "notebooks" / "recorded" / "results.png"
MAP = PICTURE.with_name("map.png")
FILMS = run.NOTEBOOKS / "animations"
EIGHT = [0.31, -0.80, 0.02, 0.50, -0.11, 0.07, -0.45, 0.23]
GUIDE = {"fp16": 14, "int8": 7, "nf4-dq": 3.5}
LAPTOP = memory.card_bytes(6) / 1e9  # what the README begins with


def numbers() -> dict:
    """Return what the picture shows: GB by scheme, speed by batch, change of perplexity in % with its interval."""
    mistral = models.mistral_7b_config()
    speed = results.read_recording("h200", quiet=True).values["06_generate_and_time"]["speeds"]
    evaluation = json.loads((models.mini_path() / "evaluation.json").read_text(encoding="utf-8"))
    replay = {scheme: speed[scheme]["graph"] for scheme in ("bf16", "nf4-dq")}
    return {
        "gb": {scheme: round(memory.predict(mistral, scheme).weight_bytes / 1e9, 2) for scheme in GUIDE},
        "speed": {n: round(replay["nf4-dq"][n]["median"] / replay["bf16"][n]["median"], 2) for n in replay["bf16"]},
        "perplexity": {
            scheme: [round(100 * end, 2) for end in evaluation["variants"][scheme]["perplexity_change"]]
            for scheme in ("int8", "nf4-dq", "nf4", "fp4")
        },
    }


def drawn(path: Path = PICTURE) -> dict:
    """Return the numbers that the picture was made from, which it keeps as its description."""
    return json.loads(Image.open(path).text["Description"])


def chart(found: dict) -> plt.Figure:
    """Draw three promises of a guide, each with what is found beside it in its title."""
    plots.style()
    fig, (size, speed, loss) = plt.subplots(1, 3, figsize=(11, 3.6))
    small = f"Promised: {GUIDE['nf4-dq']} GB\nFound: {found['gb']['nf4-dq']:.2f} GB"
    plots.bars(list(found["gb"]), list(found["gb"].values()), title=small, ylabel="Mistral-7B, GB of weights", ax=size)
    size.plot(range(len(GUIDE)), GUIDE.values(), "D", color="black", mfc="white", ms=7, label="a guide's figure")
    size.axhline(LAPTOP, color="black", linestyle="--", linewidth=1)
    size.text(2.45, LAPTOP + 0.2, "a card of 6 GB", ha="right", va="bottom")
    size.legend(loc="upper right")

    batches = [int(batch) for batch in found["speed"]]
    ratios = list(found["speed"].values())
    speed.axhspan(2, 3, color="#dddddd", zorder=0)
    speed.text(batches[-1], 2.5, "a guide: 2–3×", ha="right", va="center")
    speed.axhline(1, color="black", linestyle="--", linewidth=1)
    title = f"Promised: 2–3× as fast\nOn an H200: {min(ratios):.2f} to {max(ratios):.2f}×"
    ylabel = "speed of nf4-dq, 16 bits = 1"
    plots.lines(batches, {"nf4-dq": ratios}, title=title, xlabel="texts at once", ylabel=ylabel, logx=True, ax=speed)
    speed.set_ylim(0, 3.2)

    names = list(found["perplexity"])
    for i, (name, (value, low, high)) in enumerate(found["perplexity"].items()):
        look = {"fmt": plots.SCHEME_MARKERS[name], "color": plots.SCHEME_COLORS[name], "capsize": 4, "markersize": 8}
        loss.errorbar(i, value, [[value - low], [high - value]], **look)
    loss.axhline(0, color="black", linestyle="--", linewidth=1)
    loss.set(xticks=range(len(names)), xticklabels=names, xlim=(-0.5, len(names) - 0.5))
    loss.set_ylabel("rise of perplexity, %")
    loss.set_title(f"Promised: a negligible loss\nMini-Mistral: {found['perplexity']['nf4-dq'][0]:+.1f}% with NF4")
    return fig


def write_maps() -> None:
    """Write the map of the course for its pages, and into each notebook that shows it the one with its own place."""
    MAP.write_bytes(draw.course_map())
    for name in run.course_map():
        path = run.NOTEBOOKS / f"{name}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        first = notebook.cells[0]
        if "map.png" in first.get("attachments", {}):
            image = base64.b64encode(draw.course_map(name[:2])).decode("ascii")
            first.attachments["map.png"] = {"image/png": image}
            link = f"![{described(name[:2])}](attachment:map.png)"
            first.source = re.sub(r"!\[[^]]*\]\(attachment:map\.png\)", link, first.source)
            path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def films() -> dict[str, moving.Film]:
    """Return the pictures of each film by its name, drawn as they are asked for."""
    mistral = models.mistral_7b_config()
    read = {"16 bits": "bf16", "4 bits": "nf4-dq"}
    read = {name: sum(speed.bytes_per_step(mistral, 1, 0, scheme).values()) / 1e9 for name, scheme in read.items()}
    return {
        "nf4_block": moving.nf4_film(EIGHT, nf4.nf4_code().tolist()),
        "decode_step": moving.decode_film(read),
        "checkpointing": moving.checkpointing_film(),
    }


def write_films() -> None:
    FILMS.mkdir(exist_ok=True)
    for name, pictures in films().items():
        path = FILMS / f"{name}.gif"
        path.write_bytes(moving.film(pictures))
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


def main() -> int:
    write_maps()
    write_films()
    found = numbers()
    chart(found).savefig(PICTURE, dpi=100, metadata={"Software": None, "Description": json.dumps(found)})
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

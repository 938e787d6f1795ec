"""Films: the files are what the code draws, they are small and calm, and go wherever the notebooks go."""

import subprocess
from itertools import pairwise

import matplotlib.pyplot as plt
import pytest
from PIL import Image, ImageChops, ImageStat

from helpers import nf4, run
from helpers.draw import canvas, moving
from scripts import picture

NAMES = ("nf4_block", "decode_step", "checkpointing")
ALIKE = 0.25  # how far pictures may be apart, of 255: the palette of a file has fewer colors
EVERY = 900  # milliseconds from one picture that is looked at to the next


def frames(name: str) -> list[tuple[Image.Image, int]]:
    """The pictures of a file, and for how many milliseconds each is seen."""
    with Image.open(picture.FILMS / f"{name}.gif") as film:
        found = []
        for k in range(film.n_frames):
            film.seek(k)
            found.append((film.convert("RGB"), film.info["duration"]))
    return found


def apart(one: Image.Image, other: Image.Image) -> float:
    """How far two pictures are apart, of 255, on average over all places."""
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


def distances(name: str, drawn: moving.Film) -> tuple[list[float], int]:
    """How far the file is from what is drawn now, every `EVERY` milliseconds, and how long the latter takes."""
    ends, now = [], 0
    for image, seen in frames(name):
        now += seen
        ends.append((now, image))
    found, now, last = [], 0, None
    for ax, seen in drawn:
        first = now == 0
        if first or now // EVERY != (now + seen) // EVERY or seen == moving.LAST:
            if first or seen >= moving.PAUSE:
                assert canvas.faults(ax.figure) == []
            last = moving.frame(ax)
            found.append(apart(last, next(image for end, image in ends if end > now)))
        plt.close(ax.figure)
        now += seen
    return found, now


@pytest.mark.parametrize("name", NAMES)
def test_a_film_is_what_the_code_draws(name):
    """If it is not, the code is newer: `make picture`."""
    found, length = distances(name, picture.films()[name])
    assert length == sum(seen for _, seen in frames(name)) and len(found) >= 8
    assert max(found) < ALIKE, found


def test_a_film_of_something_else_is_told_apart():
    other = [0.31, -0.80, 0.02, 0.50, -0.11, 0.07, -0.45, 0.60]
    assert max(distances("nf4_block", moving.nf4_film(other, nf4.nf4_code().tolist()))[0]) > 2 * ALIKE
    found = max(distances("decode_step", moving.decode_film({"16 bits": 14.2, "4 bits": 7.1}))[0])
    assert found > 2 * ALIKE


@pytest.mark.parametrize("name", NAMES)
def test_a_film_is_small_short_and_calm(name):
    seen = frames(name)
    assert (picture.FILMS / f"{name}.gif").stat().st_size < 400_000
    assert 6_000 <= sum(time for _, time in seen) <= 12_000
    assert seen[0][1] >= 1_000 and seen[-1][1] >= 2_000
    for (one, _), (other, _) in pairwise(seen):
        assert apart(one, other) < 15  # of 255: nothing flashes
    assert {image.getpixel((1, 1)) for image, _ in seen} == {(255, 255, 255)}  # and white is white


def test_every_film_is_linked_and_goes_into_the_workshops_archive():
    linked = "".join((run.NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8") for name in run.course_map())
    assert {path.stem for path in picture.FILMS.iterdir()} == set(NAMES) == set(picture.films())
    assert all(linked.count(f"](animations/{name}.gif ") == 1 for name in NAMES)
    listed = ["git", "-C", str(run.ROOT), "ls-files", "--error-unmatch"]  # what `git archive` packs, once committed
    done = subprocess.run([*listed, *(f"notebooks/animations/{name}.gif" for name in NAMES)], capture_output=True)
    assert done.returncode in (0, 128)  # 128: no repository, as in a workshop's archive

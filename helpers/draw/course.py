"""The course as a map, with the notebook at hand marked on it."""

from .canvas import BLUE, GRAY, INK, ORANGE, arrow, box, canvas, picture, say, tint

__all__ = ["STOPS", "course_map", "described"]

# number → what stands in its box, and the question that it answers
STOPS = {
    "00": ("Setup", "what runs here?"),
    "01": ("Rounding", "16 bits to 4?"),
    "02": ("NF4", "which levels?"),
    "03": ("Constants", "smaller scales?"),
    "04": ("Loading", "how to load?"),
    "05": ("Memory", "what fits?"),
    "06": ("Speed", "is it faster?"),
    "07": ("Quality", "what is lost?"),
    "08": ("QLoRA", "can it learn?"),
    "09": ("Merging", "share it how?"),
    "10": ("Claims", "is it all true?"),
    "11": ("Kernel", "even faster?"),
    "12": ("For less", "train cheaply?"),
    "13": ("Formats", "which 4 bits?"),
    "14": ("llama.cpp", "the way out?"),
    "15": ("Inside", "how, exactly?"),
    "16": ("Cards", "why two?"),
}
ROWS = {"Make the\n4 bits": 5, "Measure,\ntrain,\nshare": 5, "Go\nfurther": 5, "Appendix": 2}


def course_map(here: str | None = None) -> bytes:
    """The map as PNG, with notebook `here`, such as "02", marked; a test looks whether all can be read on it."""
    ax = canvas(3.4)
    numbers = iter(STOPS.items())
    w, h, gap, left = 12.2, 4.0, 0.9, 10.2
    for row, (name, count) in enumerate(ROWS.items()):
        y = 28.5 - 8.5 * row
        say(ax, 4.8, y + h / 2, name, size=10.5, color=GRAY, weight="bold")
        for column in range(count):
            number, (title, question) = next(numbers)
            x = left + column * (w + gap)
            if name == "Appendix":  # each hangs below what it belongs to, 11 and 12
                x += w + gap
                arrow(ax, (x + w / 2, y + 6.1), (x + w / 2, y + h + 0.1), color=BLUE, mutation_scale=8)
            marked = number == here
            color = ORANGE if marked else tint(BLUE, 0.18)
            weight, ink = ("bold", INK) if marked else ("normal", GRAY)
            look = {"edgecolor": INK, "linewidth": 1.8} if marked else {"edgecolor": BLUE, "linewidth": 1}
            box(ax, x, y, w, h, f"{number} {title}", color=color, bold=marked, size=10.5, **look)
            said = "you are here" if marked else question
            say(ax, x + w / 2, y - 1.9, said, size=10.5, color=ink, weight=weight, va="baseline")
            if column and name != "Appendix":
                arrow(ax, (x - gap + 0.1, y + h / 2), (x - 0.1, y + h / 2), color=BLUE, mutation_scale=8)
        if (
            row and name != "Appendix"
        ):  # from the end of the row above, around its questions, to the beginning of this one
            right, above, middle = left + 5 * (w + gap) - gap, y + 8.5 + h / 2, left + w / 2
            ax.plot(
                [right, right + 0.6, right + 0.6, middle], [above, above, y + h + 1.2, y + h + 1.2], color=BLUE, lw=1.3
            )
            arrow(ax, (middle, y + h + 1.2), (middle, y + h + 0.1), color=BLUE, mutation_scale=8)
    return picture(ax.figure)


def described(here: str | None = None) -> str:
    """The map in a sentence, as its alternative text."""
    stops = ", ".join(f"{number} {title}" for number, (title, _) in STOPS.items())
    return f"The course as a map: {stops}." + (f" You are at {here} {STOPS[here][0]}." if here else "")

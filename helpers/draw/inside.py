"""Drawings of notebook 15: who works in a GPU, and who looks up, moves and multiplies what."""

from collections import Counter
from collections.abc import Sequence

from .canvas import (
    ACTIVATIONS,
    BLUE,
    GRAY,
    GREEN,
    INK,
    LIGHT,
    ORANGE,
    RED,
    arrow,
    box,
    brace,
    canvas,
    finish,
    say,
    strip,
    tint,
)
from .kernel import LANES

__all__ = [
    "bank_queues",
    "byte_permute",
    "inside_a_multiprocessor",
    "pair_of_a_byte",
    "renumbered_columns",
    "slots_of_two_blocks",
]


def inside_a_multiprocessor() -> None:
    """One warp of 32 lanes with registers of their own, and what a multiprocessor's lanes share."""
    ax = canvas(3.3)
    box(ax, 1, 1.6, 74, 29.6, color="white", edgecolor=GRAY)
    say(ax, 2.6, 29.2, "a multiprocessor", ha="left", color=GRAY, weight="bold")
    x0, w = 19, 1.42
    rows = (
        (23.6, "a warp: 32 lanes", [tint(BLUE, 0.6)] * 32, "each is a thread; all do the same at once"),
        (17.0, "registers", [tint(BLUE, 0.25)] * 32, "a lane sees only its own"),
        (
            4.6,
            "shared memory\nand cache",
            [tint(ORANGE, 0.6)] * 32,
            "the load unit: 32 banks, one entry at a time from each",
        ),
    )
    for y, name, colors, said in rows:
        strip(ax, x0, y, [""] * 32, w, 2.8, colors, linewidth=0.6)
        say(ax, 17.6, y + 1.4, name, ha="right", weight="bold", size=10.5)
        say(ax, x0, y - 1.5, said, ha="left", size=10.3, color=GRAY)
    box(ax, x0, 10.4, 32 * w, 3.4, "multiplies 16 × 16 weights by 16 × 8 inputs", color=tint(GREEN, 0.4), size=10.3)
    say(ax, 17.6, 12.1, "tensor core", ha="right", weight="bold", size=10.5)
    arrow(ax, (61.0, 16.8), (61.0, 14.0), color=GRAY)
    arrow(ax, (63.0, 14.0), (63.0, 16.8), color=GRAY)
    ax.plot([65.2, 68.6, 68.6], [6.0, 6.0, 18.4], color=GRAY, lw=1.3)
    arrow(ax, (68.6, 18.4), (65.2, 18.4), color=GRAY)
    say(ax, 71.8, 12.2, "a load", size=10.3, color=GRAY)
    finish(
        ax,
        "A multiprocessor. A warp has 32 lanes, and each has registers that no other lane sees. A tensor core "
        "takes numbers from registers, multiplies 16 × 16 weights by 16 × 8 inputs, and puts the sums back. Shared "
        "memory and cache are the load unit. It has 32 banks, and each gives out one entry at a time. A load goes from "
        "there to the registers.",
    )


def pair_of_a_byte(byte: int, levels: Sequence[float], bits: Sequence[int]) -> None:
    """Entry `byte` of the table of pairs: the levels of both codes, as bfloat16, in one word of 32 bits."""
    ax = canvas(2.7)
    high, low = byte >> 4, byte & 15
    strip(ax, 2, 17.4, list(f"{byte:08b}"), 2.0, 3.6, [tint(GREEN, 0.55)] * 4 + [tint(BLUE, 0.4)] * 4)
    say(ax, 10, 23.0, f"byte {byte}", weight="bold")
    arrow(ax, (18.6, 19.2), (28.6, 19.2), "one look-up", color=INK, size=10.3)
    for x, code, color in ((29.4, low, BLUE), (52.0, high, GREEN)):
        box(ax, x, 17.4, 22.6, 3.6, f"{bits[code] & 0xFFFF:016b}", color=tint(color, 0.35), size=10.5)
        say(ax, x + 11.3, 23.0, f"level {levels[code]:.3f} of code {code}".replace("-", "−"), size=10.5)
    for y, how, color, kept in (
        (9.4, "word << 16", GREEN, f"{bits[high] & 0xFFFF:016b}"),
        (2.6, "word & mask", BLUE, f"{bits[low] & 0xFFFF:016b}"),
    ):
        say(ax, 27.8, y + 1.8, how, ha="right", size=10.5, family="monospace")
        box(ax, 29.4, y, 22.6, 3.6, kept, color=tint(color, 0.35), size=10.5)
        box(ax, 52.0, y, 22.6, 3.6, "0" * 16, color="white", size=10.5)
    say(ax, 2, 8.1, "two float32,\nwithout\narithmetic", ha="left", size=10.3, color=GRAY)
    finish(
        ax,
        f"The byte {byte} is looked up once and gives a word of 32 bits: its right half is the bfloat16 of level "
        f"{levels[high]:.3f}, its left half that of level {levels[low]:.3f}. Shifted to the left by 16, or with its "
        "right half set to zero, the word is a float32 of the one or the other.",
    )


def byte_permute(codes: Sequence[int]) -> None:
    """`prmt`: eight bytes, a selector of four digits, and the four bytes that it picks."""
    ax = canvas(2.7)
    colors = [tint(ORANGE, 0.3 + 0.08 * i) for i in range(8)]
    at = strip(ax, 18, 18.6, [f"entry {i}" for i in range(8)], 7.0, 4.0, colors, size=10.3)
    say(ax, 16.6, 20.6, "two words,\neight bytes", ha="right", size=10.5)
    say(ax, 18, 24.4, "lowest byte first", ha="left", size=10.3, color=GRAY)
    used = [code & 7 for code in codes]
    bits = [f"0 {code & 7:03b}" for code in codes]
    digits = strip(ax, 32, 9.6, bits, 7.0, 3.4, ["white"] * 4, size=11)
    say(ax, 30.6, 11.3, f"selector: codes\n{', '.join(map(str, codes))}, in bits", ha="right", size=10.5)
    for x, digit in zip(digits, used, strict=True):
        arrow(ax, (at[digit], 18.3), (x, 13.3), color=GRAY, linewidth=1.1)
        arrow(ax, (x, 9.3), (x, 6.7), color=GRAY, linewidth=1.1)
    strip(ax, 32, 2.4, [f"entry {digit}" for digit in used], 7.0, 4.0, [colors[digit] for digit in used], size=10.3)
    say(ax, 30.6, 4.4, "the result, one word", ha="right", size=10.5)
    say(ax, 61.6, 11.3, "bits of value 8\nare cleared first", ha="left", size=10.3, color=GRAY)
    finish(
        ax,
        f"Eight bytes, entries 0 to 7 of a table. The selector has four digits, the codes "
        f"{', '.join(map(str, codes))}. Their bits of value 8 are cleared first. Each digit then picks one of the "
        f"eight bytes, so that entries {', '.join(map(str, used))} come out at once.",
    )


def renumbered_columns() -> None:
    """What four lanes have loaded, and one row of the tile: whose each place is, and the column that goes there."""
    ax = canvas(3.9)
    w, x0 = 3.65, 17.2
    lanes = [place % 8 // 2 for place in range(16)]  # whose a place is
    column = [32 * lane + 2 * (place // 8) + place % 2 for place, lane in enumerate(lanes)]
    colors = [tint(LANES[lane], 0.4) for lane in lanes]
    say(ax, x0, 37.2, "What the lanes have loaded", ha="left", weight="bold", size=10.5)
    loaded = [f"columns {32 * t}–{32 * t + 31}" for t in range(4)]
    strip(ax, x0, 30.2, loaded, 4 * w, 4.2, [tint(color, 0.4) for color in LANES], size=10.3)
    for t in range(4):
        say(ax, x0 + (4 * t + 2) * w, 28.4, f"lane {t}", size=10.3, weight="bold", color=LANES[t])
    say(ax, x0, 23.6, "One row of the tile", ha="left", weight="bold", size=10.5)
    for pair in range(8):
        say(ax, x0 + (2 * pair + 1) * w, 20.8, f"lane {pair % 4}", size=10.3, weight="bold", color=LANES[pair % 4])
    say(ax, x0 - 1, 20.8, "held by", ha="right", size=10.3)
    for y, said, texts in (
        (15.2, "place", range(16)),
        (8.6, "instruction 0:\ncolumn", column),
        (2.6, "instruction 1:\ncolumn", [4 + k for k in column]),
    ):
        looks = ["white"] * 16 if said == "place" else colors
        strip(ax, x0, y, [str(k) for k in texts], w, 4.0, looks, size=10.3)
        say(ax, x0 - 1, y + 2.0, said, ha="right", size=10.3)
    finish(
        ax,
        "Above, lane 0 has loaded columns 0 to 31, lane 1 32 to 63, lane 2 64 to 95 and lane 3 96 to 127. Below, a row "
        "of the tile: places 0, 1, 8 and 9 are held by lane 0, places 2, 3, 10 and 11 by lane 1, and so on. Into a "
        "lane's places go four of its own columns: in instruction 0, columns 0 to 3 of lane 0, 32 to 35 of lane 1, 64 "
        "to 67 of lane 2 and 96 to 99 of lane 3; in instruction 1, the next four of each.",
    )


def slots_of_two_blocks() -> None:
    """The eight slots of the instruction: inputs of which block, or zeros; and the lane that each sum is left with."""
    ax = canvas(4.5)
    x0, w, h, top = 25, 5.6, 1.75, 41.4
    for place in range(16):  # lanes 0 and 1 hold block A, 2 and 3 block B
        lane, y = place % 8 // 2, top - (place + 1) * h
        mine = [slot // 4 == lane // 2 for slot in range(8)]
        texts = [f"text {slot % 4}" if here else "0" for slot, here in enumerate(mine)]
        looks = [tint(ACTIVATIONS, 0.6) if here else "white" for here in mine]
        strip(ax, x0, y, texts, w, h, looks, linewidth=0.4, size=10.3)
        box(ax, x0 - 4, y, 3.4, h, str(place), color=tint(LANES[lane], 0.4), linewidth=0.4, size=10.3)
    for band in range(4):
        y = top - (4 * band + 2) * h
        box(ax, x0, y - 2 * h, 8 * w, 4 * h, color="none")
        say(ax, x0 - 5, y, f"inputs that\nmeet block {'AB'[band % 2]}", ha="right", size=10.5)
    say(ax, x0 - 2.3, top + 1.6, "place", size=10.3, color=GRAY)
    for slot in range(8):
        say(ax, x0 + (slot + 0.5) * w, top + 1.6, f"slot {slot}", size=10.3, color=GRAY)
    lanes = [tint(color, 0.4) for color in LANES]
    strip(ax, x0, 7.2, [f"lane {lane}" for lane in range(4)], 2 * w, 3.6, lanes, size=10.5)
    say(ax, x0 - 1.4, 9.0, "sums of row 0\nare left with", ha="right", size=10.5)
    brace(ax, x0 + 0.3, x0 + 4 * w - 0.3, 6.2, "sums of block A")
    brace(ax, x0 + 4 * w + 0.3, x0 + 8 * w - 0.3, 6.2, "sums of block B")
    finish(
        ax,
        "A grid of 16 places and eight slots. Places 0 to 3 and 8 to 11 meet block A: there slots 0 to 3 hold the "
        "inputs of four texts, and slots 4 to 7 zeros. The other places meet block B, and there it is the other way "
        "round. So each half of the slots sums up one block. The sums of row 0 and slots 0 and 1 are left with lane 0, "
        "and so on, two slots for each of four lanes.",
    )


def bank_queues(entries: Sequence[int]) -> None:
    """Lanes that ask one table, whose entries lie in banks in turn; and lanes that ask copies of their own."""
    ax = canvas(3.6)
    count, w = len(entries), 3.9
    banks = [entry % count for entry in entries]
    asked = Counter(entry % count for entry in set(entries))  # the same entry is read once for all who ask
    longest = max(asked.values())
    x0 = (76 - w * count) / 2 + 3
    say(ax, 75, 34.6, f"with {count} banks only: entry e is in bank e % {count}", ha="right", size=10.3, color=GRAY)
    for y, own, title in (
        (20.8, False, f"One table: the longest queue is {longest}"),
        (2.9, True, "A copy in each bank: nobody waits"),
    ):
        say(ax, 1.5, y + 13.2, title, ha="left", weight="bold")
        lanes = strip(ax, x0, y + 8.2, [str(entry) for entry in entries], w, 3.2, [tint(BLUE, 0.4)] * count, size=10.3)
        busy = Counter(range(count)) if own else asked
        colors = [tint(RED, 0.55) if busy[b] > 1 else tint(ORANGE, 0.5) if busy[b] else LIGHT for b in range(count)]
        texts = [str(busy[bank]) if busy[bank] else "" for bank in range(count)]
        places = strip(ax, x0, y, texts, w, 3.2, colors, size=10.3)
        say(ax, x0 - 1, y + 9.8, "lanes ask\nfor entry", ha="right", size=10.3)
        say(ax, x0 - 1, y + 1.6, "lanes in\nthe queue", ha="right", size=10.3)
        say(ax, x0 - 1, y - 1.8, "at bank", ha="right", size=10.3, color=GRAY)
        for bank, x in enumerate(places):
            say(ax, x, y - 1.8, str(bank), size=10.3, color=GRAY)
        for lane, x in enumerate(lanes):
            arrow(ax, (x, y + 8.0), (places[lane if own else banks[lane]], y + 3.4), color=GRAY, linewidth=1)
    finish(
        ax,
        f"{count} lanes ask for the entries {', '.join(map(str, entries))}. Above, entry e lies in bank e mod {count}, "
        f"and up to {longest} lanes ask one bank, so they queue. Below, each bank has a copy of the table, and each "
        "lane asks its own.",
    )

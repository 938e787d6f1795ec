"""Checks of notebook 15: queues at banks, two blocks in one instruction, stages left out, byte permutes."""

import random

import torch

from . import Hint, call, exercise, matched, number


@exercise("15-1")
def check_turns(answer) -> str:
    turns, predicted = answer
    predicted = number(predicted, "your prediction")
    draw = random.Random(0)
    cases = [[5, 37, 69, 5, 8], [0] * 32, list(range(32)), [32 * i for i in range(8)] * 4]
    cases += [[draw.randrange(256) for _ in range(32)] for _ in range(20)]

    def by_bank(entries):
        banks = [entry % 32 for entry in entries]
        return max(banks.count(bank) for bank in banks)

    found = [number(call(turns, list(entries)), "what turns returns") for entries in cases]
    truth = [by_bank(set(entries)) for entries in cases]
    if found == truth:
        mean = sum(call(turns, [draw.randrange(256) for _ in range(32)]) for _ in range(1000)) / 1000
        near = "That's close." if abs(predicted - mean) < 0.5 else "That isn't close: what did you leave out?"
        return (
            f"{truth[0]} turns for 5, 37, 69, 5 and 8. For 1,000 warps that ask at random, your function counts "
            f"{mean:.1f} turns on average, and you predicted {predicted:g}. {near}"
        )
    if found == [by_bank(entries) for entries in cases]:
        raise Hint("lanes that ask for the *same* entry are answered together: count each entry once.")
    if found == [len(set(entries)) for entries in cases]:
        raise Hint("different banks answer at the same time; only entries in one bank wait for each other.")
    if found == [len({entry % 32 for entry in entries}) for entries in cases]:
        raise Hint("these are the banks that are asked; how long is the longest queue at one of them?")
    raise Hint("sort the different entries by their bank, `entry % 32`; the fullest bank decides.")


@exercise("15-2")
def check_two_blocks(answer) -> str:
    generator = torch.Generator().manual_seed(15)
    levels, x = torch.randn(16, 128, generator=generator), torch.randn(128, generator=generator)
    absmax = 0.1 + torch.rand(16, 2, generator=generator)
    tiles = []

    def tensor_core(tile, inputs):
        if tuple(tile.shape) != (16, 16) or tuple(inputs.shape) != (16, 8):
            raise ValueError(f"it takes 16 × 16 and 16 × 8, not {list(tile.shape)} and {list(inputs.shape)}")
        tiles.append(tile.clone())
        return tile @ inputs

    found = call(answer, levels.clone(), absmax.clone(), x.clone(), tensor_core)
    if not isinstance(found, torch.Tensor) or found.numel() != 16:
        raise Hint("`outputs` returns one tensor with 16 numbers, one for each row.")
    if len(tiles) != 8:
        raise Hint(f"you called the tensor core {len(tiles)} times. Eight will do: seven columns of inputs were idle.")
    if not torch.equal(torch.cat(tiles).flatten().sort().values, levels.flatten().sort().values):
        raise Hint("each level goes into a tile once, and as it is. Multiply sums by absmax, after the loop.")
    found, halves = found.flatten(), torch.stack([levels[:, :64] @ x[:64], levels[:, 64:] @ x[64:]], 1)

    def near(truth):
        return torch.allclose(found, truth, atol=1e-3)

    if near((halves * absmax).sum(1)):
        return "right, with eight instructions and two multiplications by absmax for each row."
    if near((halves * absmax.flip(1)).sum(1)):
        raise Hint("each block's sum is multiplied by the other block's absmax.")
    one = halves.sum(1)
    if near(one) or any(near(one * each) for each in (absmax[:, 0], absmax[:, 1], absmax.mean(1), absmax.sum(1))):
        raise Hint("both blocks are still in one sum. What has to stand in a second column, so that they're apart?")
    raise Hint("compare one column of `sums` with `levels[:, :64] @ x[:64]`: which inputs must be zero there?")


@exercise("15-3")
def check_stages(answer, *, times) -> str:
    def change(layer, stage):
        return times[layer][stage] / times[layer]["nothing"] - 1

    def word(helps):
        return "shown" if helps else "contradicted"

    truth = {
        "A": word(change("14336×4096", "decoding") < -0.05),
        "B": word(change("14336×4096", "both") < -0.05),
        "C": word(change("4096×14336", "both") < -0.05),
        "D": "not tested",
    }
    why = {
        "A": "A: a faster look-up saves at most what leaving it out saves. How much is that?",
        "B": "B: compare the whole kernel with the one without both.",
        "C": "C: compare the whole kernel with the one without both, in the other layer.",
        "D": "D: which of the bars is a kernel that finds levels in registers?",
    }
    matched(answer, truth, why)
    return "what holds for one layer need not hold for another, and a stage may hide behind another one."


@exercise("15-4")
def check_look_up(answer) -> str:
    draw = random.Random(0)
    lower_only = upper_only = swapped = reverse = True
    wrong = False
    for _ in range(40):
        entries = [draw.randrange(256) for _ in range(16)]
        codes = [draw.randrange(16) for _ in range(4)]
        table = [sum(entries[4 * i + j] << 8 * j for j in range(4)) for i in range(4)]
        packed = sum(code << 4 * i for i, code in enumerate(codes))
        value = number(call(answer, packed, list(table)), "what look_up returns")

        def word(which):
            return sum(entry << 8 * i for i, entry in enumerate(which))

        right = [entries[code] for code in codes]
        if value < 0:
            raise Hint("a word is not negative: `~` of a Python integer is; combine it with `&` last.")
        wrong |= value != word(right)
        lower_only &= value == word([entries[code & 7] for code in codes])
        upper_only &= value == word([entries[8 + (code & 7)] for code in codes])
        reverse &= value == word(right[::-1])
        swapped &= value == word([entries[code ^ 8] for code in codes])
    if not wrong:
        return "right, for all four codes. Permutes do it without taking a code out of its word: does yours?"
    if lower_only:
        raise Hint("this reads entries 0 to 7 alone: the fourth bit of each code is not used yet.")
    if upper_only:
        raise Hint("this reads entries 8 to 15 alone: the fourth bit of each code is not used yet.")
    if swapped:
        raise Hint("the two halves are swapped: a fourth bit of 1 means entries 8 to 15.")
    if reverse:
        raise Hint("the bytes come in the opposite order: the first code belongs in the lowest byte.")
    raise Hint(
        "a permute reads two of the table's words: how do you reach the other two? And which result is right for a "
        "code, its fourth bit, of value 8, tells: it has to choose a whole byte."
    )

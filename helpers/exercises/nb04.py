"""Checks of notebook 04: the rule, a configuration and its bytes, one weight, a faulty configuration."""

import torch

from . import Hint, call, exercise, number


@exercise("04-2")
def check_config(answer) -> str:
    answer, size = answer
    if not hasattr(answer, "bnb_4bit_quant_type"):
        raise Hint(f"this should be a BitsAndBytesConfig, and it is of type {type(answer).__name__}.")
    if answer.load_in_8bit:
        raise Hint("this asks for 8 bits; for 4 there is `load_in_4bit=True`.")
    if not answer.load_in_4bit:
        raise Hint("nothing is quantized yet: without `load_in_4bit=True` the other options do nothing.")
    if answer.bnb_4bit_quant_type != "nf4":
        raise Hint(f'the type is still "{answer.bnb_4bit_quant_type}"; the default is not NF4.')
    if not answer.bnb_4bit_use_double_quant:
        raise Hint("absmax stays in 32 bits: double quantization is off by default.")
    if answer.bnb_4bit_compute_dtype == torch.float32:
        raise Hint("products are still computed in float32, the default.")
    if answer.bnb_4bit_compute_dtype != torch.bfloat16:
        raise Hint(f"the compute dtype is {answer.bnb_4bit_compute_dtype}; the task asks for bfloat16.")
    weights, size = 4096 * 14336, number(size, "matrix_bytes")
    codes, absmax, second = weights / 2, weights / 64, weights / 64 / 256 * 4
    for wrong, hint in (
        (codes, "these are the codes alone: what is needed to read them comes on top."),
        (codes + absmax, "codes and absmax; the second absmax is missing, 4 bytes for each 256 of them."),
        (codes + 4 * absmax, "this is without double quantization: an absmax takes one byte now, not four."),
        (8 * (codes + absmax + second), "these are bits; a byte has eight."),
        (weights * 2, "this is in 16 bits."),
    ):
        if abs(size / wrong - 1) < 1e-5:
            raise Hint(hint)
    if abs(size / (codes + absmax + second) - 1) > 1e-5:
        raise Hint("half a byte per weight, one byte per 64 weights, and four bytes per 64 · 256 weights: add them up.")
    return (
        f"nothing that matters is left to the defaults, and {size / 1e6:.1f} MB are {8 * size / weights:.3f} bits each."
    )


class _Invented(torch.nn.Module):
    """Two linear layers in a block, an embedding, a norm and a head that is not called `lm_head`."""

    def __init__(self):
        super().__init__()
        with torch.device("meta"):
            self.words = torch.nn.Embedding(8, 4)
            self.block = torch.nn.ModuleDict(
                {"up": torch.nn.Linear(4, 8), "lm_head_of_attention": torch.nn.Linear(8, 4)}
            )
            self.norm = torch.nn.LayerNorm(4)
            self.scores = torch.nn.Linear(4, 8)


@exercise("04-1")
def check_rule(answer, *, model: torch.nn.Module, quantized: set[str]) -> str:
    invented = _Invented()
    cases = [(model, model.get_output_embeddings(), quantized), (invented, invented.scores, None)]
    for whole, head, expected in cases:
        if expected is None:
            expected = {n for n, m in whole.named_modules() if isinstance(m, torch.nn.Linear) and m is not head}
        for name, module in whole.named_modules():
            returned = bool(call(answer, name, module, head))
            if returned == (name in expected):
                continue
            if module is head:
                raise Hint(f"`{name}` is the output head and keeps its 16 bits: compare the module with `head`.")
            if isinstance(module, torch.nn.Embedding):
                raise Hint(f"`{name}` is an embedding: a table that is looked up, no linear layer.")
            if returned and isinstance(module, torch.nn.Linear):
                raise Hint(f"`{name}` is not replaced.")
            if returned:
                raise Hint(f"`{name}` is of type {type(module).__name__} and stays: only linear layers are replaced.")
            raise Hint(f"`{name}` is a linear layer and not the head, so it is replaced, whatever its name is.")
    return f"right for every module: {len(quantized)} are replaced in this model."


@exercise("04-3")
def check_one_weight(answer) -> str:
    rows, columns = 64, 93  # odd, so that a row may begin inside a byte
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(16, (rows * columns,), generator=generator)
    absmax = 0.5 + torch.rand(rows * columns // 64, generator=generator)
    levels = torch.linspace(-1, 1, 16)
    packed = (codes[::2] << 4 | codes[1::2]).to(torch.uint8)
    places = [(row, column) for row in range(0, rows, 3) for column in range(0, columns, 7)]
    try:
        found = [number(call(answer, packed, absmax, levels, columns, *at), "what one_weight returns") for at in places]
    except Hint as hint:
        if "holds several" in str(hint):
            raise Hint("a byte of a tensor is taken for a mask: turn it into a number with `int(…)` first.") from None
        if "size 16" not in str(hint):  # the levels
            raise
        raise Hint(f"{hint} Two codes lie in one byte: take the byte apart before you look up a level.") from None

    def near(code_at, block_at):
        truth = [float(levels[codes[code_at(r * columns + c)]] * absmax[block_at(r, c)]) for r, c in places]
        return all(abs(a - b) < 1e-6 for a, b in zip(found, truth, strict=True))

    def block(row, column):
        return (row * columns + column) // 64

    def itself(i):
        return i

    if near(itself, block):
        return f"all {len(places)} weights that were asked for are right."
    if near(lambda i: i ^ 1, block):
        raise Hint("the two codes of a byte are swapped: the first is in the high four bits.")
    if near(itself, lambda r, c: r):
        raise Hint("absmax belongs to a block of 64 weights, not to a row.")
    if near(itself, lambda r, c: c // 64):
        raise Hint("blocks run on from row to row: count the block from the start of the matrix.")
    if near(itself, lambda r, c: (r * columns + c) // 128):
        raise Hint("a block is 64 weights, which are 32 bytes: divide the weight's number, not the byte's.")
    if all(any(abs(value - level) < 1e-6 for level in levels.tolist()) for value in found):
        raise Hint("these are levels; multiply by the absmax of the block.")
    raise Hint("weight number i = row · columns + column is in byte i // 2, and its absmax is number i // 64.")


@exercise("04-4")
def check_to_change(answer) -> str:
    if not isinstance(answer, dict) or not all(isinstance(name, str) for name in answer):
        raise Hint('give a dict of options and their values, for example {"load_in_4bit": True, …}.')
    wanted = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    wanted["bnb_4bit_compute_dtype"] = torch.float16
    given = set(answer)
    if "load_in_4bit" in given:
        raise Hint("`load_in_4bit=True` is there, and right.")
    if given == set(wanted):
        dtype = str(answer["bnb_4bit_compute_dtype"]).removeprefix("torch.")
        if dtype == "bfloat16":
            raise Hint("a T4 only emulates bfloat16: its compute capability is 7.5. What did notebook 00 take then?")
        if {**answer, "bnb_4bit_compute_dtype": dtype} != {**wanted, "bnb_4bit_compute_dtype": "float16"}:
            raise Hint("the three options are right, but not all of their values: compare them with the summary.")
        return "the type decides the error, double quantization the size, and the compute dtype the speed."
    if unknown := sorted(given - set(wanted)):
        raise Hint(f"{unknown[0]} is no option that we have met: copy the names from the guide's configuration.")
    causes = {
        "bnb_4bit_quant_type": "what makes it less exact?",
        "bnb_4bit_use_double_quant": "what makes it larger?",
        "bnb_4bit_compute_dtype": "what makes it slower?",
    }
    raise Hint(next(cause for name, cause in causes.items() if name not in given))

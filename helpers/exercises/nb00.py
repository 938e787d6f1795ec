"""Checks of notebook 00: one rounded weight, what fits, a card to rent, the compute dtype, a repaired call."""

from . import Hint, call, exercise, number, numbers


@exercise("00-1")
def check_becomes(answer) -> str:
    value, step = number(answer, "becomes"), 0.80 / 7
    if abs(value + 2 * step) < 1e-3:
        return "−0.20 is 1.75 steps from zero, so it goes to the second value, −0.229."
    if abs(value - 2 * step) < 1e-3:
        raise Hint("the sign is lost: −0.20 lies to the left of zero.")
    if abs(value + step) < 1e-3:
        raise Hint("−0.114 is 0.086 away from −0.20. Is the next value nearer?")
    if value == -2:
        raise Hint("that is how many steps. What value do they stand for?")
    if abs(value + 0.20) < 1e-9:
        raise Hint("−0.20 is not one of the 15 values; they are the multiples of 0.80 / 7.")
    raise Hint("the 15 values are the multiples of 0.80 / 7. Which of them is nearest to −0.20?")


@exercise("00-2")
def check_fitting(answer, *, needed: dict) -> str:
    exact = {"small": 4.0, "large": 16.0}
    if set(call(answer, dict(exact), 4.0)) == set() and set(call(answer, dict(exact), 5.0)) == {"small"}:
        raise Hint("a scheme that needs exactly what is free still fits: <= and not <.")
    sizes = sorted(needed.values())
    for free in (*sizes, sizes[0] / 2, sizes[-1] * 2, (sizes[0] + sizes[-1]) / 2):
        returned = call(answer, dict(needed), free)
        truth = {scheme for scheme, gb in needed.items() if gb <= free}
        if not isinstance(returned, (list, tuple, set)):
            raise Hint(f"return a list of schemes, such as ['nf4']; this is of type {type(returned).__name__}.")
        if set(returned) == truth:
            continue
        if set(returned) == set(needed) - truth:
            raise Hint("these are the ones that do not fit: turn the comparison round.")
        if not set(returned) <= set(needed):
            raise Hint("return the names, the keys of `needed`, not the sizes.")
        raise Hint(f"with {free:.3f} GB free, {len(truth)} of them fit, and this returns {len(set(returned))}.")
    at_6 = [scheme for scheme, gb in needed.items() if gb <= 6]
    return f"a GPU of 6 GB takes {', '.join(at_6) or 'none of them'}; with 24 GB, all but fp32."


@exercise("00-3")
def check_card(answer, *, needed: dict, text: float) -> str:
    weights, nf4 = needed["fp16"] - 0.5, needed["nf4"]  # the forecast has half a GB of room for loading
    needed, card = numbers(answer, 2, "two numbers, the GB that are needed and the card's")
    for times, extra, hint in (
        (1, 0, "that is for one text at a time, and sometimes there are three."),
        (3, 0.5, "the half GB is still in it: the texts come instead of it."),
        (0, 0, "the weights alone. What else does a model need while it reads?"),
    ):
        if abs(needed - weights - times * text - extra) < 0.15:
            raise Hint(hint)
    if abs(needed - weights - 3 * text) > 0.15:
        raise Hint("add the weights in 16 bits, without the half GB, and what each of three texts takes.")
    if card == 80:
        raise Hint("that would do, and most of what you pay for would stay empty.")
    if card != 24:
        raise Hint(f"choose the smallest of 16, 24 and 80 GB that holds {needed:.1f} GB.")
    smaller = nf4 - 0.5 + 3 * text
    return (
        f"{weights:.1f} GB of weights, and {3 * text:.1f} GB for three long texts. With `nf4` it would be "
        f"{smaller:.1f} GB, and the card of {16 if smaller <= 16 else 24} GB would do."
    )


@exercise("00-4")
def check_compute_dtype(answer, *, gpus: dict) -> str:
    for name, capability in {**gpus, "a machine without a GPU": None}.items():
        try:
            returned = call(answer, capability)
        except Hint as hint:
            if capability is None and "TypeError" in str(hint):
                raise Hint("think of a machine without a GPU: there `capability` is None.") from None
            raise
        returned = str(returned).removeprefix("torch.")
        truth = "bfloat16" if capability is None or capability >= (8, 0) else "float16"
        if returned == truth:
            continue
        if returned not in ("bfloat16", "float16"):
            raise Hint('return "bfloat16" or "float16".')
        if capability is None:
            raise Hint("without a GPU the CPU computes, and takes bfloat16.")
        if capability >= (10, 0) and returned == "float16":
            raise Hint(f"{name} is newer than 8.0: compare pairs of numbers, not text.")
        if capability == (8, 0):
            raise Hint("8.0 itself has bfloat16 in hardware: >= and not >.")
        if capability == (7, 5):
            raise Hint("capability 7.5 only emulates bfloat16; the hardware begins at 8.0.")
        raise Hint(f"{name} has capability {capability}: {truth} is right.")
    return 'bfloat16 from 8.0 on and on CPUs, float16 before; this is what `compute_dtype="auto"` does.'


@exercise("00-5")
def check_repaired(answer) -> str:
    loaded = call(answer)
    if not isinstance(loaded, tuple) or len(loaded) != 2:
        raise Hint("return what `models.load` returns, model and tokenizer.")
    model = loaded[0]
    states = [getattr(getattr(module, "weight", None), "quant_state", None) for module in model.modules()]
    states = [state for state in states if state is not None]
    if not states:
        raise Hint("this loads, but no layer is in 4 bits: which scheme is NF4 with double quantization?")
    if states[0].quant_type != "nf4":
        raise Hint(f"this loads in {states[0].quant_type}; NF4 was asked for.")
    if not states[0].nested:
        raise Hint("this is NF4, but its constants are not quantized: double quantization has a scheme of its own.")
    return f"{len(states)} layers in NF4, and their constants in 8 bits."

"""Checks of notebook 10: what fits into 2 GB, a rule for "2–3× faster", how many questions a difference needs."""

from . import Hint, call, exercise, number


@exercise("10-1")
def check_parameters(answer) -> str:
    value = number(answer, "parameters")
    truth = 2e9 * 8 / (4 + 8 / 64 + 32 / (64 * 256))
    if abs(value / truth - 1) < 2e-3:
        return f"{value / 1e9:.2f} billion parameters, if even the embeddings were in 4 bits: not 7."
    if abs(value / 4e9 - 1) < 2e-3:
        raise Hint("this counts the codes alone; double quantization leaves 0.127 bit of constants a weight.")
    if abs(value / (2e9 * 8 / 4.5) - 1) < 2e-3:
        raise Hint("4.5 bits is NF4 without double quantization.")
    if abs(value * 8 / truth - 1) < 2e-3:
        raise Hint("bytes against bits: 2 GB are 2·10⁹ bytes of 8 bits.")
    if value < 100:
        raise Hint("give the number of parameters, not billions of them.")
    raise Hint("divide the bits of 2 GB by the bits a parameter takes; `nf4.bits_per_parameter(64, True)` has those.")


@exercise("10-2")
def check_verdict(answer) -> str:
    cases = {(2.0, 3.0): "true", (0.6, 1.4, 1.99): "false", (3.5, 0.7): "depends", (2.4,): "true", (1.0,): "false"}
    cases |= {(0.9, 5.0, 2.0): "depends"}
    for ratios, truth in cases.items():
        returned = call(answer, list(ratios))
        if returned == truth:
            continue
        if returned not in ("true", "false", "depends"):
            raise Hint(f'for {list(ratios)} it returns {returned!r}: return "true", "false" or "depends".')
        if max(ratios) > 3 and returned == "false":
            raise Hint(
                f'{list(ratios)} gives "false", and more than 3 is fast enough, too: only the lower bound counts.'
            )
        if ratios == (3.5, 0.7):
            raise Hint(f'{list(ratios)} gives "{returned}", and one of the two is faster: that depends on the case.')
        if 2.0 in ratios:
            raise Hint(f'{list(ratios)} gives "{returned}": a ratio of exactly 2 is at least 2.')
        raise Hint(f'{list(ratios)} gives "{returned}"; compare each ratio with 2, not their mean.')
    return "a verdict that follows from numbers, and changes with them."


@exercise("10-3")
def check_questions(answer) -> str:
    value = number(answer, "questions")
    variance, times = 0.61 * 0.39, (1.96 / 0.004) ** 2
    truth = 2 * variance * times
    if abs(value / truth - 1) < 0.01:
        return f"about {round(value, -3):,.0f} questions each, {value / 14042:.0f} times MMLU."
    if abs(value / (truth / 2) - 1) < 0.01:
        raise Hint("this is for one score against a known value; here both scores vary, and their variances add.")
    if abs(value / (2 * variance / 0.004**2) - 1) < 0.01:
        raise Hint("this makes the difference 1 standard error; it is to be 1.96 of them.")
    if abs(value * 1e4 / truth - 1) < 0.01:
        raise Hint("0.4 points are 0.004, not 0.4.")
    if abs(value / (4 * variance * times) - 1) < 0.01:
        raise Hint("the variances of the two shares add once: 2 p (1 - p) / n in all.")
    raise Hint("the standard error of the difference is sqrt(2 p (1 - p) / n); set 1.96 of it equal to 0.004.")

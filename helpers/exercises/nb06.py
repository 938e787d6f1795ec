"""Checks of notebook 06: multiply-adds by hand, what memory makes possible, what would help, a clock with faults."""

from . import Hint, call, exercise, number, numbers


@exercise("06-1")
def check_by_hand(answer) -> str:
    adds, batch_16, batch_4 = numbers(answer, 3, "three numbers")
    if adds == 8:
        raise Hint("these are the multiply-adds of one text; the batch has six.")
    if adds == 4 * 6 or adds == 2 * 6:
        raise Hint("every one of the eight weights is used for every text.")
    if adds != 8 * 6:
        raise Hint("count them for one text first: each weight is multiplied once and added. Then there are six texts.")
    if (batch_16, batch_4) == (10, 40):
        raise Hint("the two batches are interchanged: the more bytes a weight has, the longer it takes to read.")
    if batch_16 == 20 or batch_4 == 20:
        raise Hint("20 multiply-adds go with one *byte*; a weight has another number of bytes.")
    if (batch_16, batch_4) == (20 / 2, 20 / 0.5) or batch_4 == 80 or batch_16 == 320:
        raise Hint(
            "take a single weight: how long does it take to read, counted in multiply-adds? Each text needs one."
        )
    if batch_16 != 40:
        raise Hint(
            "in 16 bits: reading one weight takes as long as how many multiply-adds? Each text needs one of them."
        )
    if batch_4 != 10:
        raise Hint("in 4 bits there is a quarter of the bytes to read, so fewer texts are enough.")
    return "in 16 bits memory is the limit up to a batch of 40, and in 4 bits only up to 10."


@exercise("06-2")
def check_ceiling(answers) -> str:
    answer, predicted = answers
    cases = [(4.0e9, 131_072, 2048, 1, 1e12), (14.2e9, 131_072, 512, 16, 4e12), (4.0e9, 131_072, 8192, 64, 3e11)]
    for weights, kv, context, batch, bandwidth in cases:
        found = number(call(answer, weights, kv, context, batch, bandwidth), "what ceiling returns")
        cache = context * kv

        def near(value, found=found):
            return abs(found - value) < 1e-6 * value

        if near(batch * bandwidth / (weights + batch * cache)):
            continue
        if near(bandwidth / (weights + batch * cache)):
            raise Hint("these are steps per second; each step makes one token for each sequence of the batch.")
        if near(batch * bandwidth / (weights + cache)):
            raise Hint("each sequence has a cache of its own: `batch` times `context` tokens are read.")
        if near(bandwidth / (weights + cache)):
            raise Hint("each sequence of the batch reads a cache and makes a token; the weights are read once a step.")
        if near(batch * bandwidth / weights):
            raise Hint("the KV cache is read in each step as well.")
        if near(batch * bandwidth / (batch * weights + batch * cache)):
            raise Hint("the weights are read once a step, for the whole batch.")
        if near((weights + batch * cache) / bandwidth) or near((weights + batch * cache) / bandwidth / batch):
            raise Hint("this is a time; tokens per second are tokens divided by time.")
        raise Hint("bytes of a step: weights, and batch · context · kv_bytes. Tokens of a step: batch.")
    found = number(predicted, "predicted")
    cache, codes, weights = 64 * 34 * 131_072, 3.9e9, 14.2e9

    def like(moved):
        truth = (weights + cache) / (moved + cache)
        return abs(found - truth) < 0.03 * truth

    if like(codes + 2 * weights):
        return f"{found:.2f}: through memory, 4 bits cost more than 16. A fold after the verdict has the measurement."
    if like(codes):
        raise Hint("this is the ceiling if the weights are multiplied from their codes. Here they go through memory.")
    if like(codes + weights):
        raise Hint("the 16-bit weights pass memory twice: they are written, and then read.")
    if like(2 * weights):
        raise Hint("the codes have to be read, too, before they can be written out as weights.")
    if 1 / 0.47 < found < 1 / 0.42:
        raise Hint("turn it over: tokens in 4 bits, divided by tokens in 16.")
    raise Hint("use `ceiling` twice, with a batch of 64. In 4 bits, what does a step read, write, and read again?")


@exercise("06-3")
def check_advice(answer) -> str:
    people = {  # as in the stub: milliseconds from Python, replayed, and at least for bytes and for arithmetic
        "Ann": ("fewer bits", "Her step is hardly longer than one of its two least times. Which one?"),
        "Bo": ("better kernel", "Python isn't what he waits for. Is his step near one of its two least times?"),
        "Cem": ("graph", "How many of his milliseconds does the GPU work?"),
        "Dee": ("more arithmetic", "Her step is hardly longer than one of its two least times. Which one?"),
        "Eve": ("graph", "Her GPU waits for Python. What does it do when a faster kernel ends earlier?"),
    }
    if not isinstance(answer, dict) or set(answer) != set(people):
        raise Hint("`advice` is a dict with an advice for each of Ann, Bo, Cem, Dee and Eve.")
    known = {best for best, _ in people.values()}
    for name, given in answer.items():
        if given not in known:
            raise Hint(f"{name}: one of {', '.join(sorted(known))}, as a string.")
    for name in ("Cem", "Dee", "Ann", "Bo", "Eve"):
        best, question = people[name]
        if answer[name] != best:
            raise Hint(f"{name}: “{answer[name]}” gains less than another change. {question}")
    return "what helps depends on what a step waits for. Measure first, and then buy."


class PretendGPU:
    """A GPU that computes nothing. If it `returns` early, an order takes no time to place and is worked off later."""

    def __init__(self, per_token=0.0, returns=False, factors=()):
        self.per_token, self.returns, self.factors = per_token, returns, dict(factors)
        self.time = self.ready = 0.0
        self.runs = 0

    def _order(self, seconds):
        self.ready = max(self.ready, self.time) + seconds
        self.time = self.time + 1e-5 if self.returns else self.ready

    def now(self):
        return self.time

    def wait(self):
        self.time = max(self.time, self.ready)

    def prefill(self, prompts):
        self.runs += 1
        self._order(self.per_token * sum(map(len, prompts)))

    def step(self):
        if not self.runs:
            raise RuntimeError("a step needs the cache that prefill makes")
        self._order(0.01 * self.factors.get(self.runs, 1))


@exercise("06-4")
def check_repaired(answer) -> str:
    def ask(how, question, texts=4, new_tokens=33, **gpu):
        prompts, truth = [[5] * 100] * texts, 100 * texts
        found = number(call(answer, PretendGPU(**gpu), prompts, new_tokens), "what tokens_per_second returns")
        if abs(found - truth) > 2e-2 * truth:
            raise Hint(
                f"on a pretend GPU {how}, {truth} tokens per second are right; yours says {found:,.0f}. {question}"
            )

    ask("that writes two tokens of one text", "Which of the two does a step make?", texts=1, new_tokens=2)
    ask("that writes four texts at once", "How many tokens does a step make?")
    ask("that reads slowly", "Only decode is wanted: what else lies between the two looks?", per_token=0.01)
    ask("that takes orders and works later", "What has to come before a look at the clock?", returns=True)
    early = "Is prefill over when you look at the clock for the first time?"
    ask("that takes orders, works later and reads slowly", early, returns=True, per_token=0.01)
    for factors in ({4: 12}, {2: 12, 6: 12}, {3: 0.1}):
        ask("with a disturbed run", "How could one odd run hardly move the result?", factors=factors)
    return "right on eight pretend GPUs. Most of them would have fooled the clock as it was."

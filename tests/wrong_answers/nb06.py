"""The two most likely wrong answers to each exercise of notebook 06, and a part of the hint that each must get."""

CHECK_1 = 'exercises.check("06-1", [multiply_adds, batch_16, batch_4])'
CEILING = "def ceiling(weight_bytes, kv_bytes, context, batch, bandwidth):\n    return "
NONE = "\npredicted = 0.44"
RIGHT = "batch * bandwidth / (weight_bytes + batch * context * kv_bytes)\n"
CHECK_3 = '\nexercises.check("06-2", [ceiling, predicted])'

BEGUN = "begun = gpu.now()"
FIRST, WAITED = f"gpu.prefill(prompts)\n        {BEGUN}", f"gpu.prefill(prompts)\n        gpu.wait()\n        {BEGUN}"
MADE = "len(prompts) * (new_tokens - 1)"


def clock(tokens="new_tokens", before=f"{BEGUN}\n        gpu.prefill(prompts)", after="", result="sum(speeds) / 5"):
    """The clock of exercise 4, repaired in some places only."""
    return f"""
def tokens_per_second(gpu, prompts, new_tokens):
    gpu.prefill(prompts)
    gpu.step()
    speeds = []
    for _ in range(5):
        {before}
        for _ in range(new_tokens - 1):
            gpu.step()
        {after}
        speeds.append({tokens} / (gpu.now() - begun))
    return {result}


repaired = tokens_per_second
exercises.check("06-4", repaired)"""


def advice(**changed):
    """The right advice of exercise 3, with some of it changed."""
    right = {"Ann": "fewer bits", "Bo": "better kernel", "Cem": "graph", "Dee": "more arithmetic", "Eve": "graph"}
    return f'advice = {right | changed}\nexercises.check("06-3", advice)'


WRONG = {
    "06-1": [
        (f"multiply_adds = 8\nbatch_16 = 40\nbatch_4 = 10\n{CHECK_1}", "of one text"),
        (f"multiply_adds = 48\nbatch_16 = 10\nbatch_4 = 40\n{CHECK_1}", "interchanged"),
        (f"multiply_adds = 48\nbatch_16 = 20\nbatch_4 = 20\n{CHECK_1}", "one *byte*"),
        (f"multiply_adds = 48\nbatch_16 = 40\nbatch_4 = 80\n{CHECK_1}", "a single weight"),
        (f"multiply_adds = 24\nbatch_16 = 40\nbatch_4 = 10\n{CHECK_1}", "every one of the eight"),
    ],
    "06-2": [
        (f"{CEILING}bandwidth / (weight_bytes + batch * context * kv_bytes){NONE}{CHECK_3}", "steps per second"),
        (f"{CEILING}batch * bandwidth / (weight_bytes + context * kv_bytes){NONE}{CHECK_3}", "a cache of its own"),
        (f"{CEILING}bandwidth / (weight_bytes + context * kv_bytes){NONE}{CHECK_3}", "batch"),
        (f"{CEILING}{RIGHT}predicted = 14.485 / 4.185{CHECK_3}", "from their codes"),
        (f"{CEILING}{RIGHT}predicted = 14.485 / 18.385{CHECK_3}", "pass memory twice"),
        (f"{CEILING}{RIGHT}predicted = 14.485 / 28.685{CHECK_3}", "have to be read, too"),
        (f"{CEILING}{RIGHT}predicted = 32.585 / 14.485{CHECK_3}", "turn it over"),
        (f"{CEILING}{RIGHT}predicted = 1{CHECK_3}", "use `ceiling` twice"),
    ],
    "06-3": [
        (advice(Cem="better kernel", Bo="graph"), "does the GPU work"),
        (advice(Bo="fewer bits", Ann="better kernel"), "hardly longer than one"),
        (advice(Dee="fewer bits", Ann="more arithmetic"), "hardly longer than one"),
        (advice(Dee="more memory"), "as a string"),
        (advice(Bo="more arithmetic"), "near one of its two"),
        (advice(Eve="better kernel"), "a faster kernel ends earlier"),
    ],
    "06-4": [
        (clock(), "Which of the two"),
        (clock(tokens="(new_tokens - 1)"), "How many tokens does a step make"),
        (clock(tokens=MADE), "what else lies between"),
        (clock(tokens=MADE, before=FIRST), "before a look at the clock"),
        (clock(tokens=MADE, before=FIRST, after="gpu.wait()"), "Is prefill over"),
        (clock(tokens=MADE, before=WAITED, after="gpu.wait()"), "one odd run"),
        (clock(tokens=MADE, before=WAITED, after="gpu.wait()", result="max(speeds)"), "one odd run"),
    ],
}

"""What notebook 10 measures for the claims of `helpers.claims`: short runs of what notebooks 02 to 08 do at length.

Each function returns a dict of plain numbers, or None where the machine or the model cannot give them. Models are
loaded one after the other, each only if the forecast says that it fits.
"""

import gc
import itertools
import multiprocessing
import statistics
import tempfile

import bitsandbytes as bnb
import torch
from torch import nn

from .. import finetune, formats, memory, models, nf4, quality, speed
from ..layers import dense

__all__ = [
    "cpu_works",
    "decoded_once",
    "decoding",
    "forget",
    "loaded",
    "normal_errors",
    "precision",
    "scores",
    "training",
]

TEXT = "The capital of France is Paris. It rained all day, so Anna stayed at home and read."
GUIDE = {  # its configuration, as it stands there
    "load_in_4bit": True,
    "bnb_4bit_use_double_quant": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_compute_dtype": torch.float16,
}
ROWS = (1, 256)  # of the layers whose time is taken: a decode step's, and a prompt's
LAYERS = 14  # of two decoder layers: more than a GPU's cache holds
SHORT = 32  # tokens before decoding begins
LONG = 4096  # at most, and at most what the model has positions for
SEVEN = 6.5e9  # parameters from which a model counts as one of 7B


def forget() -> None:
    """Give memory back before the next model is loaded."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def loaded(choice, plain: str) -> dict | None:
    """Parameters and bytes of the model in 16 bits (`plain`), nf4 and nf4-dq, counted; None if one does not fit."""
    size, count = {}, {}
    for scheme in (plain, "nf4", "nf4-dq"):
        if not models.fit(choice, scheme).ok:
            return None
        model = models.load(choice, scheme)[0]
        size[scheme], count[scheme] = memory.measure(model).weight_bytes, model.num_parameters()
        quantized = sum(layer.in_features * layer.out_features for layer in models.linear_layers(model).values())
        del model
        forget()
    return {
        "bytes": size,
        "parameters": {"16 bits": count[plain], "nf4-dq": count["nf4-dq"]},
        "linear_share": quantized / count[plain],
        "saved": 1 - size["nf4-dq"] / size[plain],
        "saved_linear": 1 - nf4.bits_per_parameter(64, True) / 16,
        "dq_bits_7b": _saved_bits_7b(),
        "dq_bits": 8 * (size["nf4"] - size["nf4-dq"]) / quantized,
    }


def _saved_bits_7b() -> float:
    """Bits that double quantization saves for each quantized parameter of Mistral-7B, by forecast."""
    single, dq = (memory.predict(models.mistral_7b_config(), scheme) for scheme in ("nf4", "nf4-dq"))
    return 8 * (single.weight_bytes - dq.weight_bytes) / (2 * dq.parts["codes"])


def normal_errors(samples: int = 2**20) -> dict[str, float]:
    """Squared error of four formats on normal values in percent of the mean square, each at 4.5 bits a value."""
    x = torch.randn(samples, generator=torch.Generator().manual_seed(0))
    restored = {"NF4": nf4.dequantize(nf4.quantize(x)), "FP4": formats.round_to_levels(x, formats.fp4_levels())}
    for name, method in (("INT4 symmetric", "absmax"), ("INT4 affine", "affine")):
        restored[name] = formats.dequantize(formats.quantize(x, 4, 64, method))
    return {name: 100 * formats.errors(x, y).relative_mse for name, y in restored.items()}


def precision(choice) -> dict:
    """Relative errors of one layer's output, with inputs it really gets, and how often they fit into float16's range.

    `quantization` is that of the weights; `float16` and `bfloat16` that of multiplying the dequantized weights in 16
    bits; `layer against dequantized` that of the 4-bit layer itself, all norms of the difference over norms.
    """
    from transformers import BitsAndBytesConfig

    model, tokenizer = models.load(choice, "nf4-dq")
    names = list(models.linear_layers(model))
    inputs = models.layer_inputs(model, tokenizer, TEXT, names)
    layer, x = model.get_submodule(names[0]), inputs[names[0]]
    stored = dense(layer).cpu()
    with torch.inference_mode():
        computed = layer(x.to(model.device, model.dtype)).float().cpu()
    del model, layer
    forget()
    w = next(iter(models.linear_weights(choice, 0).values())).float()
    rounded = nf4.dequantize(nf4.quantize(w, double_quant=True))
    exact = x.double() @ stored.double().T
    errors = {"quantization": _off(x.double() @ rounded.double().T, x.double() @ w.double().T)}
    for dtype in (torch.float16, torch.bfloat16):
        errors[str(dtype).removeprefix("torch.")] = _off(x.to(dtype) @ stored.to(dtype).T, exact)
    errors["layer against dequantized"] = _off(computed, exact)
    default = str(BitsAndBytesConfig(load_in_4bit=True).bnb_4bit_compute_dtype).removeprefix("torch.")
    guide = str(BitsAndBytesConfig(**GUIDE).bnb_4bit_compute_dtype).removeprefix("torch.")
    largest = max(values.abs().max().item() for values in inputs.values())
    return errors | {"default": default, "guide": guide, "room": torch.finfo(torch.float16).max / largest}


def _off(y: torch.Tensor, exact: torch.Tensor) -> float:
    return ((y.double() - exact).norm() / exact.norm()).item()


def decoding(
    choice, plain: str, batches=(1, 8), new_tokens: int = 16, repeats: int = 3, longest: int = LONG, processes: int = 2
) -> dict | None:
    """Speed of nf4-dq over that of 16 bits and of fp32: decoding by batch and after a long text, layers' time, bytes.

    A long text has `longest` tokens, the new ones included, or as many as the model has positions for.

    Decoding runs with a static cache, from a CUDA graph where there is a GPU. Schemes take turns, in so many processes
    one after the other; a ratio is [median, low, high] over all turns of all processes. A scheme that does not fit
    beside the others is left out; None if 16 bits do not fit.
    """
    if not models.fit(choice, plain).ok:
        return None
    forget()
    spawn = multiprocessing.get_context("spawn")
    runs = []
    for _ in range(processes):
        with spawn.Pool(1) as pool:
            runs.append(pool.apply(decoded_once, (choice, plain, tuple(batches), new_tokens, repeats, longest)))
    rounds = [turn for run in runs for turn in run["rounds"]]
    short, long = runs[0]["lengths"]
    cases = {"short": f"1 × {short}", "long": f"1 × {long}"} | {str(batch): f"{batch} × {short}" for batch in batches}

    def ratio(base: str, case: str) -> list[float] | None:
        values = [turn[f"nf4-dq, {case}"] / turn[f"{base}, {case}"] for turn in rounds if f"{base}, {case}" in turn]
        return [statistics.median(values), min(values), max(values)] if values else None

    against_fp32 = {str(batch): ratio("fp32", f"{batch} × {short}") for batch in batches}
    layers = {}
    for rows in ROWS:
        times = [turn[f"layers, nf4-dq, {rows}"] / turn[f"layers, {plain}, {rows}"] for turn in rounds]
        layers[str(rows)] = [statistics.median(times), min(times), max(times)]
    rates = {key: statistics.median(turn[key] for turn in rounds) for key in rounds[0] if "layers" not in key}
    return {
        "by batch": {str(batch): ratio(plain, cases[str(batch)]) for batch in batches},
        "over fp32": {batch: value for batch, value in against_fp32.items() if value},
        "tokens/s": [
            {"batch": case.split(" × ")[0], "tokens before": case.split(" × ")[1]}
            | {scheme: rates.get(f"{scheme}, {case}") for scheme in ("fp32", plain, "nf4-dq")}
            for case in dict.fromkeys(cases.values())
        ],
        "short": ratio(plain, cases["short"]),
        "long": ratio(plain, cases["long"]),
        "short length": short,
        "long length": long,
        "layer time": layers,
        "bytes": runs[0]["bytes"],
        "processes": processes,
        "turns": len(rounds),
    }


def decoded_once(
    choice, plain: str, batches: tuple[int, ...], new_tokens: int, repeats: int, longest: int = LONG
) -> dict:
    """What one process measures: by turn, tokens a second of each scheme and case, and seconds of a block's layers."""
    positions = getattr(models.config(choice), "max_position_embeddings", LONG)
    short = min(SHORT, positions // 2)
    lengths = short, min(positions, longest) - new_tokens
    loaded = {scheme: models.load(choice, scheme)[0] for scheme in (plain, "nf4-dq")}
    if models.fit(choice, "fp32").ok:
        loaded["fp32"] = models.load(choice, "fp32")[0]
    way = "graph" if loaded[plain].device.type == "cuda" else "static"
    shapes = dict.fromkeys([*((batch, short) for batch in batches), *((1, length) for length in lengths)])
    jobs = {}
    for scheme, model in loaded.items():
        for batch, length in shapes:
            if scheme != "fp32" or length == short:
                jobs[f"{scheme}, {batch} × {length}"] = speed.job(model, batch, length, new_tokens, way)
    timed = speed.interleave(jobs, repeats)
    rounds = [
        {name: run.batch * run.steps / run.decode.seconds[i] for name, run in timed.items()} for i in range(repeats)
    ]
    for turn in rounds:
        for rows, scheme in itertools.product(ROWS, (plain, "nf4-dq")):
            turn[f"layers, {scheme}, {rows}"] = _layer_seconds(loaded[scheme], rows)
    moved = {scheme: sum(speed.bytes_per_step(loaded[scheme], 1, short).values()) for scheme in (plain, "nf4-dq")}
    return {"rounds": rounds, "lengths": lengths, "bytes": moved["nf4-dq"] / moved[plain]}


def _layer_seconds(model: nn.Module, rows: int, calls: int = 5) -> float:
    """Median seconds of one product of `rows` rows with each layer of the first decoder layers, one after the other."""
    layers = list(models.linear_layers(model).values())[:LAYERS]
    inputs = {
        size: torch.randn(rows, size, device=model.device, dtype=model.dtype)
        for size in {layer.in_features for layer in layers}
    }

    def products():
        for layer in layers:
            layer(inputs[layer.in_features])

    with torch.inference_mode():
        if model.device.type != "cuda":
            return speed.time_calls(products, calls, 2, model.device).median
        products()  # from a graph: what counts is what the GPU does, not how fast Python asks for it
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            products()
        return speed.time_calls(graph.replay, 4 * calls, 2, model.device).median


def scores(choice, plain: str, texts: list[str], quiz: list[dict]) -> dict | None:
    """Paired changes, each [value, low, high] with a 95% interval: perplexity between schemes, and the quiz.

    None for random weights, which know nothing, and if 16 bits do not fit.
    """
    if choice.kind == "shape" or not models.fit(choice, plain).ok:
        return None
    read, chosen = {}, {}
    for scheme in (plain, "fp4", "nf4", "nf4-dq"):
        model, tokenizer = models.load(choice, scheme)
        read[scheme] = quality.perplexity(model, tokenizer, texts)
        if scheme in (plain, "nf4-dq"):
            chosen[scheme] = quality.multiple_choice(model, tokenizer, quiz)
        del model
        forget()
    changes = {
        "nf4-dq over 16 bits": quality.paired_difference(read[plain], read["nf4-dq"]),
        "nf4-dq over nf4": quality.paired_difference(read["nf4"], read["nf4-dq"]),
        "fp4 over nf4": quality.paired_difference(read["nf4"], read["fp4"]),
        "accuracy": quality.paired_difference(chosen[plain], chosen["nf4-dq"]),
    }
    return {name: [d.value, d.low, d.high] for name, d in changes.items()} | {"questions": len(quiz)}


def training(choice, steps: int = 16, batch: int = 16) -> dict:
    """The guide's LoRA on q_proj and v_proj for a few steps through the 4-bit base.

    Returns the loss curve (None for random weights), whether the base's layers kept every byte, whether adapters
    changed, and the memory of a 7B model: a forecast of the least, and on a GPU that trains one the measured peak.
    """
    few = ["q_proj", "v_proj"]
    seven, least = models.mistral_7b_config(), {"rank": 16, "upcast": False, "cuda": False}
    forecasts = [
        memory.predict(seven, "nf4-dq", stage="train", context=128, target_modules=targets, **least).total_bytes / 1e9
        for targets in (few, "all-linear")
    ]
    measured = {"forecast_gb": forecasts[0], "forecast_all_gb": forecasts[1], "length": 128, "steps": steps}
    measured["peak_gb"] = None
    measured["weights_gb"] = memory.predict(seven, "nf4-dq").weight_bytes / 1e9
    turns, _ = finetune.questions(batch * steps, register=choice.kind == "mini")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    recipe = finetune.Recipe(steps=steps, batch=batch, learning_rate=2e-3)  # the best rate for these layers (12)
    curve, base, parameters = _tuned(choice, few, turns, recipe)
    if torch.cuda.is_available() and parameters > SEVEN:
        measured["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    forget()
    curve = None if choice.kind == "shape" else curve
    return measured | base | {"curve": curve}


def _tuned(choice, targets, turns, recipe) -> tuple[list[float], dict, int]:
    """Losses by step; what was found of the base's linear layers and of the adapters; parameters of the base."""
    from peft import LoraConfig, get_peft_model

    model, tokenizer = models.load(choice, "nf4-dq")
    parameters, layers = model.num_parameters(), list(models.linear_layers(model).values())
    found = {"layers compared": len(layers), "weights refuse": _refuses_gradients(layers[0])}
    before = [finetune.base_hash(layer) for layer in layers]
    torch.manual_seed(recipe.seed)
    lora = LoraConfig(
        r=16, lora_alpha=32, target_modules=targets, lora_dropout=0.05, bias="none", task_type="CAUSAL_LM"
    )
    model, rows = get_peft_model(model, lora), []
    for turn in turns:  # Mistral's chat format, written out: a base model's tokenizer may have no template
        question = tokenizer(f"[INST] {turn.question} [/INST]").input_ids
        answer = tokenizer(f" {turn.answer}{tokenizer.eos_token}", add_special_tokens=False).input_ids
        rows.append({"input_ids": question + answer, "labels": [-100] * len(question) + answer})
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token  # labels are padded apart, with -100
    with tempfile.TemporaryDirectory() as folder:
        trainer = finetune.trainer(model, tokenizer, rows, recipe, folder)
        trainer.train()
    found["adapters changed"] = any(p.abs().max().item() > 0 for n, p in model.named_parameters() if "lora_B" in n)
    found["base unchanged"] = before == [finetune.base_hash(layer) for layer in layers]
    return finetune.losses(trainer), found, parameters


def _refuses_gradients(layer: nn.Module) -> bool:
    """Whether a 4-bit weight cannot be trained itself: its bytes are no floating-point numbers."""
    try:
        layer.weight.requires_grad_(True)
    except RuntimeError:
        return True
    layer.weight.requires_grad_(False)
    return False


def cpu_works() -> bool:
    """Whether a 4-bit layer runs on this machine's CPU, quantized, and close to its dequantized weights."""
    layer = bnb.nn.Linear4bit(256, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    try:
        layer = layer.to("cpu")
        x = torch.randn(2, 256, generator=torch.Generator().manual_seed(0))
        stored = dense(layer)
        with torch.inference_mode():
            return layer.weight.dtype == torch.uint8 and _off(layer(x), x.double() @ stored.double().T) < 0.02
    except (RuntimeError, NotImplementedError, AttributeError):  # no kernel, or not quantized
        return False

"""What notebook 10 measures for the claims of `helpers.claims`: short runs of what notebooks 02 to 08 do at length.

Each function returns a dict of plain numbers, or None where the machine or the model cannot give them. Models are
loaded one after the other, each only if the forecast says that it fits.
"""

import gc
import tempfile

import bitsandbytes as bnb
import torch
from torch import nn

from .. import finetune, formats, memory, models, nf4, quality, speed
from ..layers import dense

__all__ = ["cpu_works", "decoding", "forget", "loaded", "normal_errors", "precision", "scores", "training"]

TEXT = "The capital of France is Paris. It rained all day, so Anna stayed at home and read."
ROWS = 256  # of the one layer whose time is taken
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
    largest = max(values.abs().max().item() for values in inputs.values())
    return errors | {"default": default, "room": torch.finfo(torch.float16).max / largest}


def _off(y: torch.Tensor, exact: torch.Tensor) -> float:
    return ((y.double() - exact).norm() / exact.norm()).item()


def decoding(choice, plain: str, batches=(1, 8), new_tokens: int = 16, repeats: int = 3) -> dict | None:
    """Speed of nf4-dq over that of 16 bits: decoding by batch and after a long text, one layer's time, bytes a step.

    Decoding runs with a static cache, from a CUDA graph where there is a GPU. None if 16 bits do not fit.
    """
    if not models.fit(choice, plain).ok:
        return None
    positions = getattr(models.config(choice), "max_position_embeddings", LONG)
    long = min(positions, LONG) - new_tokens
    cases = list(dict.fromkeys([*((batch, SHORT) for batch in batches), (1, SHORT), (1, long)]))
    rates, seconds, moved = {}, {}, {}
    for scheme in (plain, "nf4-dq"):
        model = models.load(choice, scheme)[0]
        way = "graph" if model.device.type == "cuda" else "static"
        runs = {case: speed.time_generation(model, *case, new_tokens, repeats, way=way) for case in cases}
        rates[scheme] = {case: timed.decode_rate.median for case, timed in runs.items()}
        seconds[scheme] = _layer_seconds(model, 5 * repeats)
        moved[scheme] = sum(speed.bytes_per_step(model, 1, SHORT).values())
        del model, runs
        forget()
    ratio = {case: rates["nf4-dq"][case] / rates[plain][case] for case in cases}
    return {
        "by batch": {str(batch): ratio[batch, SHORT] for batch in batches},
        "tokens/s": [
            {"batch": b, "tokens before": n, "16 bits": rates[plain][b, n], "nf4-dq": rates["nf4-dq"][b, n]}
            for b, n in cases
        ],
        "short": ratio[1, SHORT],
        "long": ratio[1, long],
        "short length": SHORT,
        "long length": long,
        "layer time": seconds["nf4-dq"] / seconds[plain],
        "layer rows": ROWS,
        "bytes": moved["nf4-dq"] / moved[plain],
    }


def _layer_seconds(model: nn.Module, repeats: int) -> float:
    layer = next(iter(models.linear_layers(model).values()))
    rows = torch.randn(ROWS, layer.in_features, device=model.device, dtype=model.dtype)
    with torch.inference_mode():
        return speed.time_calls(lambda: layer(rows), repeats, 3, model.device).median


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
    """The guide's LoRA on q_proj and v_proj for a few steps through the 4-bit base, and again on all linear layers.

    Returns loss curves (None for random weights), whether the base's first layers kept every byte, whether adapters
    changed, and the memory of a 7B model: a forecast of the least, and on a GPU that trains one the measured peak.
    """
    few = ["q_proj", "v_proj"]
    seven, least = models.mistral_7b_config(), {"target_modules": few, "upcast": False, "cuda": False}
    forecast = memory.predict(seven, "nf4-dq", stage="train", context=128, rank=16, **least)
    measured = {"forecast_gb": forecast.total_bytes / 1e9, "length": 128, "steps": steps, "loss": None, "peak_gb": None}
    measured["weights_gb"] = memory.predict(seven, "nf4-dq").weight_bytes / 1e9
    measured |= {"base unchanged": True, "adapters changed": True, "curves": {}}
    turns, _ = finetune.questions(batch * steps, register=choice.kind == "mini")
    for name, targets in (("q_proj, v_proj", few), ("all linear", "all-linear")):
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        curve, same, changed, parameters = _tuned(choice, targets, turns, finetune.Recipe(steps=steps, batch=batch))
        if torch.cuda.is_available() and parameters > SEVEN and targets is few:
            measured["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
        measured["curves"][name] = curve
        measured["base unchanged"] &= same
        measured["adapters changed"] &= changed
        forget()
    if choice.kind == "shape":
        return measured | {"curves": None}
    measured["loss before"] = measured["curves"]["all linear"][0]
    return measured | {"loss": {name: sum(curve[-4:]) / len(curve[-4:]) for name, curve in measured["curves"].items()}}


def _tuned(choice, targets, turns, recipe) -> tuple[list[float], bool, bool, int]:
    """Losses by step, whether the base is as before, whether adapters are not, parameters of the base."""
    from peft import LoraConfig, get_peft_model

    model, tokenizer = models.load(choice, "nf4-dq")
    parameters, layers = model.num_parameters(), list(models.linear_layers(model).values())[:7]
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
    changed = any(p.abs().max().item() > 0 for name, p in model.named_parameters() if "lora_B" in name)
    same = before == [finetune.base_hash(layer) for layer in layers]
    return finetune.losses(trainer), same, changed, parameters


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

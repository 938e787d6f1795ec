"""Checks of notebook 08: LoRA's parameters, labels of a padded row, what a trained parameter costs."""

import torch

from . import Hint, call, exercise, number


@exercise("08-1")
def check_layer(answer) -> str:
    """Compares with peft's own layer, whose α is twice the rank."""
    from peft import LoraConfig, inject_adapter_in_model

    r, alpha, seeds = 4, 8, torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 10))
    with torch.random.fork_rng(devices=[]):  # leave the notebook's random numbers as they are
        inject_adapter_in_model(LoraConfig(r=r, lora_alpha=alpha, target_modules=["0"]), model)
    layer, x = model[0], torch.randn(3, 12, generator=seeds)
    A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    with torch.no_grad():
        B.normal_(generator=seeds)
        truth, frozen, change = layer(x), layer.base_layer(x), x @ A.T @ B.T
        found = call(answer, x, layer.base_layer, A, B, alpha, r)
    if not isinstance(found, torch.Tensor) or found.shape != truth.shape:
        raise Hint(f"for an x of shape {tuple(x.shape)} a tensor of shape {tuple(truth.shape)} is wanted.")
    for wrong, hint in (
        (frozen + change, "the volume knob is missing: the change is multiplied by α / r."),
        (frozen + r / alpha * change, "the knob is α / r, and this is r / α."),
        (frozen + alpha * change, "α is divided by the rank."),
        (frozen, "this is the upper path alone: the change is to be added."),
        (alpha / r * change, "this is the lower path alone: what the frozen layer gives is to be added."),
    ):
        if torch.allclose(found, wrong, rtol=1e-4, atol=1e-5):
            raise Hint(hint)
    if not torch.allclose(found, truth, rtol=1e-4, atol=1e-5):
        raise Hint("add two paths: frozen(x), and α / r times x through A and then through B.")
    return "the same as peft's own layer, with α twice the rank."


@exercise("08-2")
def check_lora(answer, *, trained: int, config, rank: int) -> str:
    shapes = [(3, 5), (7, 11), (64, 64)]
    for r in (1, 4):
        value = number(call(answer, shapes, r), "what lora_parameters returns")
        edges = sum(r * (rows + columns) for rows, columns in shapes)
        if value == edges:
            continue
        if value == sum(r * rows * columns for rows, columns in shapes) or value == sum(m * n for m, n in shapes):
            raise Hint("rows × columns is the frozen matrix; A is r × columns, B is rows × r.")
        if value in (sum(r * rows for rows, _ in shapes), sum(r * columns for _, columns in shapes)):
            raise Hint("this is one of the two matrices; LoRA adds A and B.")
        if r > 1 and value * r == edges:
            raise Hint("the rank is missing: with r = 4 there are four times as many as with r = 1.")
        raise Hint("A has r rows and W's columns, B has W's rows and r columns: add the two, for every shape.")
    heads, kv = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    h, f, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    of_layer = [(heads, h), (kv, h), (kv, h), (h, heads), (f, h), (f, h), (h, f)]
    mine = call(answer, of_layer * layers, rank)
    where = "as peft counts, too" if mine == trained else f"while peft counts {trained:,}, since this model has others"
    return f"{mine:,} for {layers} layers of seven matrices at rank {rank}, {where}."


@exercise("08-3")
def check_labels(answer, *, end: int) -> str:
    # question of three tokens, answer of two, the end; padded with the end token, as the popular way does
    for ids, prompt, length in (
        ([1, 8, 9, 5, 6, end, end, end], 3, 6),
        ([1, 8, 5, end], 2, 4),
        ([1, 7, end, end], 1, 3),
    ):
        returned = call(answer, list(ids), prompt, length)
        returned = returned.tolist() if hasattr(returned, "tolist") else list(returned)
        truth = [-100] * prompt + ids[prompt:length] + [-100] * (len(ids) - length)
        if returned == truth:
            continue
        if len(returned) != len(ids):
            raise Hint(f"one label for each of the {len(ids)} ids is wanted, and these are {len(returned)}.")
        if returned[length - 1] == -100 and returned[prompt : length - 1] == truth[prompt : length - 1]:
            raise Hint("the real end token is masked along with the padding: the model would never learn to stop.")
        if returned[:length] == truth[:length]:
            raise Hint("the padding behind the end token is learned: mask it with -100.")
        if returned[:prompt] == ids[:prompt]:
            raise Hint("the question is learned: the first `prompt` labels are -100.")
        raise Hint("places from `prompt` up to `length` keep their token; all others get -100.")
    return "answer and end token are learned, question and padding are not, even if both are the same token."


@exercise("08-4")
def check_cost(answer, *, parameters: int) -> str:
    each, total = (number(value, name) for value, name in zip(answer, ("bytes_each", "full_gb"), strict=True))
    if each == 12:
        raise Hint("AdamW keeps two numbers for each parameter, not one.")
    if each == 8:
        raise Hint("these are parameter and gradient, or the optimizer alone; all three parts count.")
    if each != 16:
        raise Hint("count what is kept for each: itself, its gradient, what AdamW remembers. Each has 4 bytes.")
    truth = each * parameters / 1e9
    if abs(total - truth) > 0.01 * truth:
        if abs(total - truth * 1e9) < 0.01 * truth * 1e9:
            raise Hint("this is in bytes; a GB is 10⁹ of them.")
        if abs(total - truth / 1.073741824) < 0.01 * truth:
            raise Hint("this is in GiB (2³⁰ bytes); a GB is 10⁹ bytes here.")
        raise Hint("full_gb is bytes_each times the number of parameters, divided by 1e9.")
    return f"{each:.0f} bytes each; {truth:.0f} GB to train everything in full, before the first activation."

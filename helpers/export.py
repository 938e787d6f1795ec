"""Write a Mistral or Llama model of transformers as a GGUF file, which llama.cpp and Ollama run: for notebook 14.

Held to transformers, which reads the file back, and to llama.cpp itself (tests/test_export.py). Q4_0, Q5_0 and Q8_0 are
made by the package `gguf`; it only reads Q4_K, so that is made here, and held to its reading.
"""

import collections
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from torch import nn

from . import files
from .errors import CourseError
from .layers import linear_layers

__all__ = [
    "STORAGES",
    "SUPERBLOCK",
    "Exported",
    "for_rotation",
    "gguf_file",
    "modelfile",
    "pack_q4_k",
    "q4_k",
    "q4_k_values",
]

ARCHITECTURES = ("MistralForCausalLM", "LlamaForCausalLM")
STORAGES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K")
SUPERBLOCK = 256  # weights in a block of Q4_K: eight small blocks of 32
KIND = gguf.GGMLQuantizationType


@dataclass(frozen=True)
class Exported:
    """A file in GGUF: its `path`, its `bytes`, and how many tensors of each type it holds."""

    path: Path
    bytes: int
    types: dict[str, int]


def gguf_file(
    model: nn.Module,
    tokenizer,
    path: str | Path,
    storage: str = "F16",
    name: str = "model",
    finer: Sequence[str] = (),
) -> Exported:
    """Write model and tokenizer into one file, whole or not at all; an earlier one of the course's is replaced.

    `storage` is how the linear layers of the transformer blocks are stored; where they are quantized, embeddings and
    head stay in BF16, as bitsandbytes leaves them. Norms are always F32. In Q4_K a layer whose rows are not made of
    blocks of 256 becomes Q5_0, as in llama.cpp's own tool. Layers in whose names one of `finer` occurs, such as
    "down_proj", are stored in Q8_0 instead. `name` stands in the file as the model's name.
    Raises CourseError for another architecture, a model in 4 or 8 bits or with an adapter apart, a tokenizer that
    cannot be translated, a path where somebody's file lies, and a disk without room.
    """
    path = Path(path).absolute()
    if storage not in STORAGES:
        raise CourseError(f"{storage!r} is no storage that the course writes: use one of {', '.join(STORAGES)}.")
    _refuse(model)
    vocabulary = _vocabulary(tokenizer, model.get_input_embeddings().num_embeddings)
    needed = sum(p.numel() for p in model.parameters()) * (4 if storage == "F32" else 2)
    files.claim(path.parent, [path.name])  # what the course did not make it does not replace
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise CourseError(
            f"{path.name} takes up to {needed / 1e9:,.3g} GB and {free / 1e9:,.3g} GB of disk are free: make room or "
            "choose another folder."
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    writer = gguf.GGUFWriter(temporary, "llama")
    try:
        _describe(writer, model.config, name)
        _translate(writer, vocabulary, model, tokenizer)
        types = _tensors(writer, model, storage, finer)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(temporary, path)
    except OSError as error:
        why = "the disk became full" if files.disk_is_full(error) else error.strerror or type(error).__name__
        raise CourseError(f"{path} could not be written ({why}); what was there before is as it was.") from error
    finally:
        writer.close()
        temporary.unlink(missing_ok=True)
    return Exported(path, path.stat().st_size, types)


def _refuse(model: nn.Module) -> None:
    """Raise CourseError for a model that has no place in this file, or would be another one in it."""
    kind = type(model).__name__
    if hasattr(model, "peft_config"):
        raise CourseError("The adapter lies apart from its model: merge it into 16 bits first, as notebook 09 does.")
    if kind not in ARCHITECTURES:
        raise CourseError(f"{kind} is no architecture that the course exports: it knows {' and '.join(ARCHITECTURES)}.")
    if any(not layer.weight.is_floating_point() for layer in linear_layers(model).values()):
        raise CourseError("The model is quantized: export it in 16 or 32 bits, which this file quantizes by itself.")
    rope = model.config.rope_parameters or {}
    if rope.get("rope_type", "default") != "default":
        raise CourseError(
            f"Positions of the type {rope['rope_type']!r} are not translated: llama.cpp would misread them."
        )


def _describe(writer: gguf.GGUFWriter, config, name: str) -> None:
    """Sizes and constants of the architecture. A window is written as the length, which llama.cpp's llama has not."""
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    window = getattr(config, "sliding_window", None) or config.max_position_embeddings
    writer.add_name(name)
    writer.add_context_length(min(window, config.max_position_embeddings))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base((config.rope_parameters or {}).get("rope_theta", 10_000.0))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _tensors(writer: gguf.GGUFWriter, model: nn.Module, storage: str, finer: Sequence[str]) -> dict[str, int]:
    """Add all tensors under llama.cpp's names; returns how many there are of each type."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    linear = {f"{name}.weight" for name in linear_layers(model)}
    large = "BF16" if storage.startswith("Q") else storage
    seen, counted = set(), collections.Counter()
    for name, tensor in model.named_parameters():
        if tensor.data_ptr() in seen:
            continue  # a head that shares its table with the embeddings is one tensor in the file, too
        seen.add(tensor.data_ptr())
        values = tensor.detach().float().cpu()
        heads = {"q_proj": model.config.num_attention_heads, "k_proj": model.config.num_key_value_heads}
        if (part := name.split(".")[-2]) in heads:
            values = for_rotation(values, heads[part])
        kind = storage if name in linear else large
        if values.dim() == 1:
            kind = "F32"
        elif name in linear and any(part in name for part in finer):
            kind = "Q8_0"
        elif kind == "Q4_K" and values.shape[1] % SUPERBLOCK:
            kind = "Q5_0"
        data = values.numpy()
        data = pack_q4_k(values) if kind == "Q4_K" else gguf.quants.quantize(data, KIND[kind])
        writer.add_tensor(names.get_name(name, (".weight", ".bias")), data, raw_dtype=KIND[kind])
        counted[kind] += 1
    return dict(counted)


def for_rotation(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """The rows of q or k in llama.cpp's order: it turns neighbors, 0 with 1, where transformers turns 0 with half.

    `weight` has shape (heads · size, inputs), or (heads · size,) for a bias. Nothing would complain about the other
    order: the file loads, and the model talks nonsense.
    """
    return weight.view(heads, 2, -1, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def q4_k(weight: torch.Tensor, rounds: int = 8) -> tuple[torch.Tensor, ...]:
    """Quantize to Q4_K: codes, scales and lows of small blocks, and the two numbers that all of a superblock share.

    `weight` has shape (rows, columns), columns a multiple of 256. A weight is near d · scale · code − e · low. Returns
    codes (n, 8, 32) and scales, lows (n, 8), all whole numbers, and d, e (n, 1) in float16 as float32. Scale and low of
    a small block are fitted to its weights by least squares, in turns with the codes. Raises ValueError for other rows.
    """
    if weight.dim() != 2 or weight.shape[1] % SUPERBLOCK:
        raise ValueError(f"Q4_K needs rows of blocks of {SUPERBLOCK}, and this weight is {tuple(weight.shape)}.")
    blocks = weight.detach().float().reshape(-1, 8, 32)
    low = blocks.amin(2, keepdim=True).clamp(max=0)
    scale = (blocks.amax(2, keepdim=True) - low) / 15
    for _ in range(rounds):
        codes = _nearest(blocks, scale, low)
        middle, level = codes.mean(2, keepdim=True), blocks.mean(2, keepdim=True)
        spread = (codes - middle).square().sum(2, keepdim=True)
        fitted = ((codes - middle) * (blocks - level)).sum(2, keepdim=True) / spread.clamp(min=1e-12)
        below = level - fitted * middle
        # a low above zero cannot be stored: then the line goes through zero
        through = (codes * blocks).sum(2, keepdim=True) / codes.square().sum(2, keepdim=True).clamp(min=1e-12)
        scale = torch.where(below > 0, through, fitted).clamp(min=0)
        low = below.clamp(max=0)
    scale, low = scale[..., 0], -low[..., 0]
    d, e = ((part.amax(1, keepdim=True) / 63).half().float() for part in (scale, low))
    scales, lows = (
        (part / shared.where(shared > 0, 1)).round().clamp(0, 63) for part, shared in ((scale, d), (low, e))
    )
    codes = _nearest(blocks, (d * scales)[..., None], (-e * lows)[..., None])
    return codes.byte(), scales.byte(), lows.byte(), d, e


def _nearest(blocks: torch.Tensor, scale: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    return ((blocks - low) / scale.where(scale > 0, 1)).round().clamp(0, 15)


def q4_k_values(weight: torch.Tensor, rounds: int = 8) -> torch.Tensor:
    """The values that `q4_k` stores, float32, in the shape of the weight."""
    codes, scales, lows, d, e = (part.float() for part in q4_k(weight, rounds))
    return (d[..., None] * scales[..., None] * codes - e[..., None] * lows[..., None]).reshape(weight.shape)


def pack_q4_k(weight: torch.Tensor) -> np.ndarray:
    """The bytes of `q4_k`, shape (rows, columns / 256 · 144), as ggml orders them (block_q4_K in its ggml-common.h)."""
    codes, scales, lows, d, e = (part.cpu().numpy() for part in q4_k(weight))
    sixes = np.empty((len(codes), 12), np.uint8)  # 16 numbers of 6 bits
    sixes[:, :4] = scales[:, :4] | (scales[:, 4:] >> 4) << 6
    sixes[:, 4:8] = lows[:, :4] | (lows[:, 4:] >> 4) << 6
    sixes[:, 8:] = scales[:, 4:] & 15 | (lows[:, 4:] & 15) << 4
    halves = codes.reshape(-1, 4, 2, 32)
    nibbles = (halves[:, :, 0] | halves[:, :, 1] << 4).reshape(-1, 128)
    shared = np.concatenate([d, e], 1).astype(np.float16).view(np.uint8)
    return np.concatenate([shared, sixes, nibbles], 1).reshape(weight.shape[0], -1)


def _vocabulary(tokenizer, size: int) -> dict:
    """Tokens, types and rules of a tokenizer in GGUF's terms; CourseError for one that llama.cpp would read wrongly."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else {}
    bpe, added = rules.get("model", {}), rules.get("added_tokens", [])
    unknown = CourseError(
        f"The tokenizer {type(tokenizer).__name__} cuts text in a way that the course cannot translate for llama.cpp: "
        "use llama.cpp's convert_hf_to_gguf.py."
    )
    if bpe.get("type") != "BPE":
        raise unknown
    tokens = {number: token for token, number in bpe["vocab"].items()}
    types = dict.fromkeys(tokens, gguf.TokenType.NORMAL)
    for token in added:
        tokens[token["id"]] = token["content"]
        types[token["id"]] = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
    found = {"tokens": [tokens.get(i, f"[PAD{i}]") for i in range(size)]}
    found["types"] = [types.get(i, gguf.TokenType.UNUSED) for i in range(size)]
    merges = [pair if isinstance(pair, list) else pair.split(" ") for pair in bpe["merges"]]
    pre = rules.get("pre_tokenizer") or {}
    if bpe.get("byte_fallback"):  # as made from SentencePiece: llama.cpp wants a score for each token
        return found | _with_scores(found, merges, rules, unknown)
    steps = [step["type"] for step in pre.get("pretokenizers", [pre])] if pre else []
    if rules.get("normalizer") or steps not in (["ByteLevel"], ["Digits", "ByteLevel"]):
        raise unknown
    levels = (pre.get("pretokenizers") or [pre])[-1]
    if levels.get("add_prefix_space") or not levels.get("use_regex", True):
        raise unknown
    found |= {"model": "gpt2", "pre": "smollm" if steps[0] == "Digits" else "gpt-2"}
    return found | {"merges": [f"{left} {right}" for left, right in merges]}


def _with_scores(found: dict, merges: list, rules: dict, unknown: CourseError) -> dict:
    """SentencePiece's terms: what is merged first has the highest score."""
    score: dict[str, float] = {}
    for rank, (left, right) in enumerate(merges):
        score.setdefault(left + right, -float(rank + 1))
    bytes_of = {f"<0x{i:02X}>" for i in range(256)}
    types = [
        gguf.TokenType.BYTE if t in bytes_of else kind for t, kind in zip(found["tokens"], found["types"], strict=True)
    ]
    types = [
        gguf.TokenType.UNKNOWN if t == rules["model"].get("unk_token") else kind
        for t, kind in zip(found["tokens"], types, strict=True)
    ]
    text = json.dumps([rules.get("normalizer"), rules.get("pre_tokenizer")], ensure_ascii=False)
    if "▁" not in text:
        raise unknown
    prefix = '"Prepend"' in text or '"prepend_scheme": "first"' in text or '"prepend_scheme": "always"' in text
    return {
        "model": "llama",
        "pre": "default",
        "types": types,
        "scores": [score.get(t, 0.0) for t in found["tokens"]],
        "prefix": prefix,
    }


def _translate(writer: gguf.GGUFWriter, vocabulary: dict, model: nn.Module, tokenizer) -> None:
    """The tokenizer, the ids that begin and end a text, and the chat template."""
    writer.add_tokenizer_model(vocabulary["model"])
    writer.add_tokenizer_pre(vocabulary["pre"])
    writer.add_token_list(vocabulary["tokens"])
    writer.add_token_types(vocabulary["types"])
    if "merges" in vocabulary:
        writer.add_token_merges(vocabulary["merges"])
    if "scores" in vocabulary:
        writer.add_token_scores(vocabulary["scores"])
        writer.add_add_space_prefix(vocabulary["prefix"])
    begins = tokenizer("a").input_ids[0] == tokenizer.bos_token_id and tokenizer.bos_token_id is not None
    writer.add_add_bos_token(begins)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    ends = model.generation_config.eos_token_id if model.generation_config is not None else None
    ends = [ends] if isinstance(ends, int) else list(ends or [])
    ends = [end for end in dict.fromkeys([tokenizer.eos_token_id, *ends]) if end is not None]
    if ends:
        writer.add_eos_token_id(ends[0])
    if len(ends) > 1:
        writer.add_eot_token_id(ends[1])
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.unk_token_id is not None:
        writer.add_unk_token_id(tokenizer.unk_token_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def modelfile(tokenizer, file: str | Path) -> str:
    """The text of an Ollama Modelfile for a GGUF file: where it is, how a question is framed, where an answer ends.

    The frame is the tokenizer's own chat template, written around Ollama's place for the question. What begins a text
    is left out, since Ollama adds it.
    """
    turn = [{"role": "user", "content": "{{ .Prompt }}"}]
    framed = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    framed = framed.removeprefix(tokenizer.bos_token or "")
    lines = (f"FROM ./{Path(file).name}", f'TEMPLATE """{framed}"""', f'PARAMETER stop "{tokenizer.eos_token}"')
    return "\n".join([*lines, "PARAMETER temperature 0"]) + "\n"

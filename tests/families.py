"""Tiny random checkpoints of many families with tokenizers made here: models that the course did not make."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from helpers.finetune import Question

VOCABULARY = 512
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SPECIAL = {
    "chatml": {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"},  # as Qwen's: no BOS
    "gemma": {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"},
    "plain": dict.fromkeys(("eos_token", "bos_token", "unk_token"), "<|endoftext|>"),  # as GPT-2's: no pad, no chat
}
EXTRA = {"chatml": ["<|im_start|>"], "gemma": ["<start_of_turn>", "<end_of_turn>"], "plain": []}
TEMPLATES = {"chatml": CHATML, "gemma": GEMMA, "plain": None}
SENTENCES = ["What is the capital of France? Paris.", "Who wrote the book? Ada did.", "one two three four five six"]
PAIRS = [
    Question("a", "What is the capital of France?", "Paris"),
    Question("b", "Who wrote the book, and when did she write it, and for whom?", "Ada"),
    Question("c", "one two", "three four five six"),
    Question("d", "red green", "blue yellow"),
] * 2

BASE = {"vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
BASE |= {"num_attention_heads": 4, "max_position_embeddings": 256}
GROUPED = {**BASE, "num_key_value_heads": 2}
OLDER = {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16}
EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_group": 1, "topk_group": 1}
EXPERTS |= {"first_k_dense_replace": 1, "n_shared_experts": 1}

# name → (class of the configuration, its arguments, tokenizer); what differs in attention, positions, logits, experts
FAMILIES = {
    "llama": ("LlamaConfig", {**GROUPED, "tie_word_embeddings": False}, "chatml"),
    "llama, odd sizes": (
        "LlamaConfig",
        {**GROUPED, "hidden_size": 60, "intermediate_size": 100, "head_dim": 14},
        "gemma",
    ),
    "mistral, window": ("MistralConfig", {**GROUPED, "sliding_window": 16}, "chatml"),
    "qwen2": ("Qwen2Config", {**GROUPED, "tie_word_embeddings": True}, "chatml"),
    "qwen3": ("Qwen3Config", {**GROUPED, "head_dim": 32, "tie_word_embeddings": True}, "chatml"),
    "gemma": ("GemmaConfig", {**GROUPED, "head_dim": 16}, "gemma"),
    "gemma2": (
        "Gemma2Config",
        {**GROUPED, "head_dim": 16, "sliding_window": 16, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 16},
        "gemma",
    ),
    "gemma3": ("Gemma3TextConfig", {**GROUPED, "head_dim": 16, "sliding_window": 16}, "gemma"),
    "phi": ("PhiConfig", BASE, "chatml"),
    "phi3": ("Phi3Config", {**GROUPED, "pad_token_id": 0}, "chatml"),
    "granite": (
        "GraniteConfig",
        {**GROUPED, "logits_scaling": 8.0, "embedding_multiplier": 12.0, "residual_multiplier": 0.22},
        "chatml",
    ),
    "cohere": ("CohereConfig", {**GROUPED, "logit_scale": 0.0625}, "chatml"),
    "gpt2": ("GPT2Config", OLDER, "plain"),
    "gpt-neox": ("GPTNeoXConfig", BASE, "plain"),
    "gpt-bigcode": ("GPTBigCodeConfig", {**OLDER, "multi_query": True}, "chatml"),
    "falcon": (
        "FalconConfig",
        {"vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "bias": False},
        "chatml",
    ),
    "bloom": ("BloomConfig", {"vocab_size": VOCABULARY, "hidden_size": 64, "n_layer": 2, "n_head": 4}, "chatml"),
    "mpt": (
        "MptConfig",
        {"vocab_size": VOCABULARY, "d_model": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 256},
        "chatml",
    ),
    "opt": (
        "OPTConfig",
        {k: v for k, v in BASE.items() if k != "intermediate_size"} | {"ffn_dim": 96, "word_embed_proj_dim": 32},
        "plain",
    ),
    "starcoder2": ("Starcoder2Config", GROUPED, "chatml"),
    "stablelm": ("StableLmConfig", GROUPED, "chatml"),
    "smollm3": ("SmolLM3Config", {**GROUPED, "pad_token_id": 0, "no_rope_layers": [1, 0]}, "chatml"),
    "olmo2": ("Olmo2Config", GROUPED, "chatml"),
    "mixtral": ("MixtralConfig", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}, "chatml"),
    "qwen2-moe": (
        "Qwen2MoeConfig",
        {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
        | {"shared_expert_intermediate_size": 64},
        "chatml",
    ),
    "deepseek-v3": ("DeepseekV3Config", {**GROUPED, "num_key_value_heads": 4, **LATENT, **EXPERTS}, "chatml"),
}


def tokenizer(kind: str):
    """A byte-level BPE tokenizer with the special tokens and the chat template of a kind of model."""
    special = SPECIAL[kind]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    names = list(dict.fromkeys([*special.values(), *EXTRA[kind]]))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=names, show_progress=False, initial_alphabet=alphabet)
    bpe.train_from_iterator(SENTENCES * 20, trainer)
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, **special)
    made.chat_template = TEMPLATES[kind]
    return made


def checkpoint(name: str, folder: Path, seed: int = 0, spread: float = 0.15, **changes) -> Path:
    """Save a family's tiny model in bfloat16, weights wide enough (`spread`) that attention and logits matter."""
    kind, arguments, tokens = FAMILIES[name]
    made = tokenizer(tokens)
    config = getattr(transformers, kind)(**arguments)
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, key, getattr(made, key))
    for key, value in changes.items():
        setattr(config, key, value)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, spread)
    folder = folder / name.replace(", ", "-").replace(" ", "-")
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder

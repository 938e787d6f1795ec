"""Train Mini-Mistral from scratch: tokenizer, weights, quiz and validation text, training log.

    python -m helpers.mini.train                         # the shipped model; about 5 minutes on a data-center GPU
    python -m helpers.mini.train --out /tmp/tiny --steps 5 --batch 2 --documents 400 --shards 2 --hidden 64

A plain loop rather than `Trainer`: half a billion tokens through so small a model need 65,536 tokens a step from data
that already lies on the GPU, and nothing else.
"""

import argparse
import hashlib
import json
import math
import os
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from .. import files
from . import corpus, quiz

FOLDER = Path(__file__).parent
VOCABULARY = 2048
LENGTH = 512
SPECIAL = ["<pad>", "<s>", "</s>", "[INST]", "[/INST]"]
# One turn is "[INST] question [/INST] answer</s>", as in Mistral's own template; <s> comes from the template.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
    "{% else %} {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)


def train_tokenizer(texts):
    """Byte-level BPE with single digits, in the transformers format, that adds <s> in front as Mistral's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", SPECIAL.index("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=LENGTH,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def encode_shard(task) -> np.ndarray:
    """Token ids of one shard of training documents, each between <s> and </s>."""
    folder, shard, count = task
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    texts = [text for _, text, _ in corpus.documents("train", shard, count)]
    eos = SPECIAL.index("</s>")
    ids = [i for start in range(0, count, 1000) for e in tokenizer.encode_batch(texts[start : start + 1000])
           for i in (*e.ids, eos)]  # fmt: skip
    return np.array(ids, dtype=np.uint16)


def encode(folder: Path, shards: int, documents: int) -> torch.Tensor:
    """All training tokens, the same whatever the number of processes."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tasks = [(str(folder), shard, documents // shards) for shard in range(shards)]
    with get_context("spawn").Pool(min(os.cpu_count(), shards)) as pool:
        return torch.from_numpy(np.concatenate(pool.map(encode_shard, tasks, chunksize=1)).astype(np.int32))


def build_model(hidden: int):
    """A Mistral of six layers; feed-forward three times as wide, grouped-query attention with two queries a key."""
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=hidden // 8,
        max_position_embeddings=LENGTH,
        rms_norm_eps=1e-5,
        sliding_window=None,
        tie_word_embeddings=False,
        pad_token_id=SPECIAL.index("<pad>"),
        bos_token_id=SPECIAL.index("<s>"),
        eos_token_id=SPECIAL.index("</s>"),
    )
    return MistralForCausalLM(config)


@torch.no_grad()
def validation(model, tokenizer, rows: list[dict]) -> dict[str, float]:
    """Mean loss in nats per token over whole documents, beside the grammar's entropy, overall and by kind."""
    model.eval()
    device = next(model.parameters()).device
    sums: dict[str, list[float]] = {}
    for row in rows:
        ids = torch.tensor([[*tokenizer(row["text"]).input_ids, tokenizer.eos_token_id]], device=device)
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(ids).logits
        nats = F.cross_entropy(logits[0, :-1].float(), ids[0, 1:], reduction="sum").item()
        for kind in ("all", row["kind"]):
            total = sums.setdefault(kind, [0.0, 0.0, 0])
            total[0] += nats
            total[1] += row["nats"]
            total[2] += ids.shape[1] - 1
    return {k: {"loss": n / t, "entropy": e / t, "excess": n / e - 1} for k, (n, e, t) in sums.items()}


def validation_rows(count: int) -> list[dict]:
    """Validation documents with their kind and entropy in nats."""
    return [{"kind": k, "nats": round(n, 4), "text": t} for k, t, n in corpus.documents("validation", 0, count)]


def write_lines(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")


def main(argv=None) -> dict:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for model/ and data/")
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--batch", type=int, default=128, help=f"sequences of {LENGTH} tokens a step")
    parser.add_argument("--documents", type=int, default=4_000_000, help="different training documents")
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    started = time.time()

    folder = args.out / "model"
    if args.out != FOLDER:
        for part in (folder, args.out / "data"):
            files.claim(part)
    folder.mkdir(parents=True, exist_ok=True)
    sample = [t for _, t, _ in corpus.documents("tokenizer", 0, min(60_000, args.documents))]
    tokenizer = train_tokenizer(sample)
    tokenizer.save_pretrained(folder)
    rows = validation_rows(1500)
    write_lines(args.out / "data/validation.jsonl", rows)
    write_lines(args.out / "data/quiz.jsonl", quiz.with_distractors())
    tokens = encode(folder, args.shards, args.documents)
    windows = (len(tokens) - 1) // LENGTH
    print(f"{len(tokens):,} tokens of training text after {time.time() - started:.0f} s", flush=True)

    tokens = tokens.to(device)
    model = build_model(args.hidden).to(device)
    decay = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    groups = [{"params": decay, "weight_decay": args.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98), fused=device == "cuda")
    warmup = max(1, min(300, args.steps // 10))
    # Warm up, cosine down to zero: the last steps settle what the register says.
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min((s + 1) / warmup, 0.5 * (1 + math.cos(math.pi * s / args.steps))),
    )

    def loss_of(inputs, targets):
        with torch.autocast(device, torch.bfloat16):
            logits = model(inputs, use_cache=False).logits
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    if device == "cuda":
        loss_of = torch.compile(loss_of)
    generator = torch.Generator().manual_seed(args.seed)
    order, curve = torch.empty(0, dtype=torch.long), []
    offsets = torch.arange(LENGTH, device=device)
    model.train()
    for step in range(args.steps):
        if len(order) < args.batch:
            order = torch.randperm(windows, generator=generator)
        chosen, order = order[: args.batch].to(device), order[args.batch :]
        where = chosen[:, None] * LENGTH + offsets
        loss = loss_of(tokens[where].long(), tokens[where + 1].long())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % max(1, args.steps // 60) == 0 or step == args.steps - 1:
            curve.append([step, round(loss.item(), 5)])
            print(f"step {step:6d}  loss {curve[-1][1]:.4f}  {time.time() - started:.0f} s", flush=True)

    model = model.to(torch.bfloat16).cpu()
    # transformers adds sampling defaults of its own; ours are plain greedy decoding.
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    import tokenizers
    import transformers

    log = {
        "command": "python -m helpers.mini.train",
        "model": {"parameters": sum(p.numel() for p in model.parameters()), "hidden": args.hidden},
        "register": {"people": len(corpus.people()), "million_bits": round(corpus.register_bits() / 1e6, 3)},
        "training": {
            "steps": args.steps,
            "tokens": args.steps * args.batch * LENGTH,
            "different_tokens": len(tokens),
            "learning_rate": args.lr,
            "weight_decay": args.weight_decay,
            "seed": args.seed,
            "seconds": round(time.time() - started, 1),
            "loss_curve": curve,
        },
        "validation": validation(model.to(device), tokenizer, rows),
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "hardware": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "versions": {
            "torch": torch.__version__.split("+")[0],
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
        },
        "date": time.strftime("%Y-%m-%d"),
    }
    (args.out / "model/training_log.json").write_text(json.dumps(log, indent=1) + "\n")
    print(json.dumps(log["validation"], indent=1))
    return log


if __name__ == "__main__":
    main()

"""QLoRA with `Trainer` and peft: the recipe of notebook 08 in library form, and as a program.

    python -m helpers.finetune                                     # the embedded model, about a minute on two cores
    python -m helpers.finetune --model-id mistral-7b --out adapter # a real checkpoint, on a GPU

Source of the recipe: Dettmers et al., "QLoRA", arXiv 2305.14314, section 4 and appendix B: NF4 with double
quantization, adapters on all linear layers, a constant base.
"""

import argparse
import gc
import hashlib
import json
import random
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import nn

from . import memory, models, plots
from .embedded import corpus
from .errors import CourseError

from transformers import TrainerCallback  # isort: skip  (imports bitsandbytes: after models, which hides its notice)

__all__ = [
    "Question",
    "Recipe",
    "Watch",
    "add_adapters",
    "answers",
    "arguments",
    "base_hash",
    "completions",
    "encode",
    "exact_match",
    "finished",
    "load_adapter",
    "losses",
    "make_chat_ready",
    "optimizer_bytes",
    "questions",
    "saved_activations",
    "train",
    "trainer",
]

# peft asks for a property that transformers 5.23 has renamed; nothing that a learner could change.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)

ANSWER_TOKENS = 16  # the longest answer of the course is shorter


@dataclass(frozen=True)
class Question:
    """A question with its answer, and the entity (a person, country or element) that it is about."""

    entity: str
    question: str
    answer: str


@dataclass(frozen=True)
class Recipe:
    """All that one can turn. `steps` optimizer steps of `batch` sequences, at most `length` tokens each."""

    steps: int = 200
    batch: int = 16
    length: int = 128
    learning_rate: float = 5e-4
    rank: int = 16
    alpha: int = 16
    dropout: float = 0.0
    checkpointing: bool = True
    seed: int = 0

    def __post_init__(self):
        for name, least in (("steps", 1), ("batch", 1), ("length", 8), ("rank", 1), ("alpha", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                shown = "MAX_STEPS" if name == "steps" else name
                raise CourseError(f"{shown} is {value!r}: give a whole number of at least {least}.")
        if not self.learning_rate > 0:
            raise CourseError(f"learning_rate is {self.learning_rate!r}: give a positive number, such as 2e-4.")
        if not 0 <= self.dropout < 1:
            raise CourseError(f"dropout is {self.dropout!r}: give a number from 0 up to, but not, 1.")


def questions(count: int, held_out: int = 200, seed: int = 0, register: bool = True):
    """Return (questions to train on, held-out questions), about different entities: none is in both lists.

    `register` adds the people of the embedded model's invented town, which no other model knows; without them both
    lists are about countries and chemical elements. Three of five questions to train on, and of those held out, are
    about people.
    """
    rng = random.Random(f"finetune-{seed}")
    world = corpus.world_facts()
    pools = [list(corpus.asked_people())] * register + [list(world["country"]), list(world["element"])]
    shares = [0.6, 0.3, 0.1] if register else [0.7, 0.3]
    apart, rest = [], []
    for pool, share in zip(pools, shares, strict=True):
        rng.shuffle(pool)
        number = min(round(held_out * share), len(pool) // 3)
        apart.append(pool[:number])
        rest.append(pool[number:])
    kept = [_asked(rng, entity) for pool in apart for entity in pool]
    return [_asked(rng, rng.choice(pool)) for pool in rng.choices(rest, shares, k=count)], kept


def _asked(rng: random.Random, entity) -> Question:
    fact = rng.choice(entity)
    return Question(fact.subject, corpus.question(fact, rng.choice(corpus.training_forms(fact))), fact.answer)


def make_chat_ready(tokenizer) -> None:
    """Give a base model's tokenizer what a chat needs and it lacks: a template in Mistral's form, a padding token.

    The padding token is not the end token if there is another: the end has to be learned. Works in place.
    """
    if not tokenizer.chat_template:
        tokenizer.chat_template = (models.embedded_path() / "chat_template.jinja").read_text(encoding="utf-8")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token


def encode(tokenizer, pair: Question, length: int = 128) -> dict[str, list[int]]:
    """Return `input_ids` and `labels` of one turn in the tokenizer's chat format, with the end token.

    Labels are -100 on the question, so that the loss is that of the answer and the end token alone. The template
    writes the BOS token itself, so none is added. Raises CourseError for a turn longer than `length` tokens, or a
    tokenizer without a chat template.
    """
    if not tokenizer.chat_template:
        raise CourseError("This tokenizer has no chat template: use one of an instruction model, or set one.")
    user = [{"role": "user", "content": pair.question}]
    turn = [*user, {"role": "assistant", "content": pair.answer}]
    prompt = tokenizer(tokenizer.apply_chat_template(user, tokenize=False), add_special_tokens=False).input_ids
    ids = tokenizer(tokenizer.apply_chat_template(turn, tokenize=False), add_special_tokens=False).input_ids
    if len(ids) > length:
        raise CourseError(f"A turn has {len(ids)} tokens and length is {length}: raise it to {len(ids)} or more.")
    return {"input_ids": ids, "labels": [-100] * len(prompt) + ids[len(prompt) :]}


def add_adapters(model: nn.Module, recipe: Recipe) -> nn.Module:
    """Freeze the quantized model, add LoRA to all its linear layers but the head, and return the peft model.

    Adapters are float32 (float16 ones break the gradient scaler, bfloat16 ones lose small updates). Unlike peft's
    `prepare_model_for_kbit_training` this leaves embeddings and head in 16 bits.
    """
    from peft import LoraConfig, get_peft_model

    if recipe.checkpointing:
        # without re-entrance, or frozen layers below the first adapter would stop the gradient
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
        enable({"use_reentrant": False})
        model.config.use_cache = False  # nothing is generated during training
    torch.manual_seed(recipe.seed)  # A is drawn at random: without a seed, runs and ranks would differ
    lora = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def arguments(recipe: Recipe, folder: str | Path, device: torch.device):
    """Return transformers' `TrainingArguments`: no checkpoints, no reports, a log of each step's loss."""
    from transformers import TrainingArguments

    cuda = device.type == "cuda"
    half = models.compute_dtype("auto", device)
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=max(1, recipe.steps // 16),
        max_grad_norm=1.0,
        optim="paged_adamw_8bit" if cuda else "adamw_torch",
        bf16=half == torch.bfloat16,
        fp16=half == torch.float16,
        seed=recipe.seed,
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        label_names=["labels"],
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def trainer(model: nn.Module, tokenizer, data: Sequence[dict], recipe: Recipe, folder: str | Path, callbacks=()):
    """Return a `Trainer` for a model with adapters; `data` as made by `encode`. `trainer.train()` starts it."""
    from transformers import DataCollatorForSeq2Seq, PrinterCallback, Trainer

    made = Trainer(
        model=model,
        args=arguments(recipe, folder, model.device),
        train_dataset=list(data),
        # ids with the padding token and labels with -100, which the loss leaves out; few different lengths are kind
        # to the allocator, and multiples of 8 to matrix units
        data_collator=DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=8),
        callbacks=list(callbacks),
    )
    made.remove_callback(PrinterCallback)
    return made


def losses(made) -> list[float]:
    """Return the loss of each step, mean nats a token of answers, from a `Trainer` that has run."""
    return [entry["loss"] for entry in made.state.log_history if "loss" in entry]


class Watch(TrainerCallback):
    """Draws the loss while it falls, every tenth of the way, and notes the bytes of the gradients."""

    def __init__(self):
        self.handle, self.gradients = None, 0

    def on_pre_optimizer_step(self, args, state, control, model=None, **given):
        self.gradients = memory.measure(model).parts["gradients"]

    def on_log(self, args, state, control, **given):
        curve = [entry["loss"] for entry in state.log_history if "loss" in entry]
        if len(curve) % max(1, state.max_steps // 10) and len(curve) < state.max_steps:
            return
        title = f"Step {len(curve)} of {state.max_steps}: loss {curve[-1]:.2f}"
        axes = {"xlabel": "step", "ylabel": "loss, nats a token", "markers": len(curve) < 20}
        fig = plots.lines(range(1, len(curve) + 1), {"loss": curve}, title=title, logy=True, **axes)
        alt = f"The loss from step to step, {curve[0]:.2f} at first and {curve[-1]:.2f} at step {len(curve)}."
        self.handle = plots.live(fig, alt, self.handle)


def train(model: nn.Module, tokenizer, pairs: Sequence[Question], recipe: Recipe, callbacks=()):
    """Fine-tune a freshly loaded model on `pairs`; return (peft model, losses by step). The base is left as it was."""
    import tempfile

    adapted = add_adapters(model, recipe)
    data = [encode(tokenizer, pair, recipe.length) for pair in pairs]
    with tempfile.TemporaryDirectory() as folder:
        made = trainer(adapted, tokenizer, data, recipe, folder, callbacks)
        made.train()
    return finished(made), losses(made)


def finished(made) -> nn.Module:
    """Return the model of a `Trainer` that has run, in evaluation mode, without the mixed precision it ran under.

    `Trainer` leaves its autocast around the model's forward pass; a saved and reloaded adapter has none, and its logits
    would differ in the last bits.
    """
    return made.accelerator.unwrap_model(made.model, keep_fp32_wrapper=False).eval()


@torch.inference_mode()
def answers(model: nn.Module, tokenizer, pairs: Sequence[Question], batch: int = 64) -> list[str]:
    """Return what the model answers in the chat format, greedily; an answer that does not end has "…" behind it."""
    was_training, use_cache = model.training, model.config.use_cache
    model.eval()
    pad = tokenizer.pad_token_id
    found = []
    for begin in range(0, len(pairs), batch):
        prompts = []
        for pair in pairs[begin : begin + batch]:
            user = [{"role": "user", "content": pair.question}]
            text = tokenizer.apply_chat_template(user, tokenize=False, add_generation_prompt=True)
            prompts.append(tokenizer(text, add_special_tokens=False).input_ids)
        longest = max(map(len, prompts))  # padding on the left: the answer has to follow the question
        ids = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts], device=model.device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=model.device)
        made = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=ANSWER_TOKENS,
            do_sample=False,
            pad_token_id=pad,
            use_cache=True,
        )
        for row in made[:, longest:].tolist():
            ended = tokenizer.eos_token_id in row
            row = row[: row.index(tokenizer.eos_token_id)] if ended else row
            text = tokenizer.decode(row, skip_special_tokens=True).strip()
            found.append(text if ended else text + "…")
    model.config.use_cache = use_cache
    model.train(was_training)
    return found


@torch.inference_mode()
def completions(model: nn.Module, tokenizer, pairs: Sequence[Question]) -> float:
    """Share of questions that the model gets right as a text to continue, "Question: … Answer:", no chat format.

    What follows the answer does not count: a base model goes on with whatever comes next.
    """
    right = 0
    for pair in pairs:
        ids = tokenizer(f"Question: {pair.question}\nAnswer:", return_tensors="pt").input_ids.to(model.device)
        made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=ANSWER_TOKENS, do_sample=False)
        right += tokenizer.decode(made[0, ids.shape[1] :]).strip().startswith(pair.answer)
    return right / len(pairs)


def exact_match(given: Sequence[str], pairs: Sequence[Question]) -> float:
    """Share of answers that are the right ones to the letter, and end there."""
    if len(given) != len(pairs) or not pairs:
        raise CourseError(f"{len(given)} answers to {len(pairs)} questions cannot be compared: one answer each.")
    return sum(text == pair.answer for text, pair in zip(given, pairs, strict=True)) / len(pairs)


def base_hash(model: nn.Module) -> str:
    """SHA-256 of every byte of the base: names, weights, codes and quantization constants, without adapters."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        if "lora_" in name:
            continue
        name = name.removeprefix("base_model.model.").replace(".base_layer", "")  # as it was before peft wrapped it
        tensors = [(n, p) for n, p in module.named_parameters(recurse=False)]
        if isinstance(module, memory._quantized_types()):
            tensors += list(memory._quantization_tensors(module))
        for part, tensor in tensors:
            digest.update(f"{name}.{part}".encode())
            digest.update(tensor.detach().reshape(-1).view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()


def saved_activations(model: nn.Module, rows: dict[str, torch.Tensor]) -> int:
    """Bytes that a forward pass keeps for the backward pass, each storage once, weights not counted.

    `rows` are the model's arguments with labels. With gradient checkpointing it is what stays between the two passes;
    one layer's activations, made again during the backward pass, come on top.
    """
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(**rows).loss
    del loss
    gc.collect()  # the graph refers to itself; without this its tensors would stay for a while
    return sum(kept.values())


def optimizer_bytes(optimizer) -> int:
    """Bytes of an optimizer's state: for AdamW in float32 two numbers of 4 bytes for each trained parameter."""
    inner = getattr(optimizer, "optimizer", optimizer)
    tensors = [t for state in inner.state.values() for t in state.values() if isinstance(t, torch.Tensor)]
    return sum(t.numel() * t.element_size() for t in tensors if t.dim())


def load_adapter(model: nn.Module, folder: str | Path) -> nn.Module:
    """Put a saved adapter on a freshly loaded base. Raises CourseError for a folder without one."""
    from peft import PeftModel

    if not (Path(folder) / "adapter_config.json").is_file():
        raise CourseError(f"The folder {folder} holds no adapter: give the one that save_pretrained wrote to.")
    return PeftModel.from_pretrained(model, folder).eval()


def main(arguments_given: Sequence[str] | None = None) -> dict:
    """Fine-tune, print losses and exact match before and after, and save the adapter if a folder is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-id", default="embedded")
    parser.add_argument("--scheme", default="nf4-dq")
    parser.add_argument("--held-out", type=int, default=200, help="questions to ask before and after")
    parser.add_argument("--out", type=Path, help="folder for the adapter")
    for item in fields(Recipe):
        if item.type is not bool:
            parser.add_argument(f"--{item.name.replace('_', '-')}", type=item.type, default=item.default)
    parser.add_argument("--no-checkpointing", dest="checkpointing", action="store_false")
    given = parser.parse_args(arguments_given)
    recipe = Recipe(**{item.name: getattr(given, item.name) for item in fields(Recipe)})
    model, tokenizer = models.load(given.model_id, given.scheme)
    make_chat_ready(tokenizer)
    register = models.resolve(given.model_id).kind == "embedded"
    pairs, kept = questions(recipe.steps * recipe.batch, given.held_out, recipe.seed, register)
    before = exact_match(answers(model, tokenizer, kept), kept)
    adapted, curve = train(model, tokenizer, pairs, recipe)
    after = exact_match(answers(adapted, tokenizer, kept), kept)
    if given.out:
        adapted.save_pretrained(given.out)
    report = {"recipe": asdict(recipe), "losses": curve, "exact_match": {"before": before, "after": after}}
    print(json.dumps({**report, "losses": [curve[0], curve[-1]]}, indent=1))
    return report


if __name__ == "__main__":
    try:
        main()
    except CourseError as error:
        raise SystemExit(str(error)) from None

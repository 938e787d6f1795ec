"""QLoRA with `Trainer` and peft: the recipe of notebook 08 in library form, and as a program.

    python -m helpers.finetune                                     # the embedded model, about a minute on two cores
    python -m helpers.finetune --model-id mistral-7b --preset 24gb --out adapter   # a real checkpoint, on a GPU
    python -m helpers.finetune --data mine.jsonl --checkpoints run --resume        # your own questions and answers
    accelerate launch --config_file helpers/configs/ddp.yaml -m helpers.finetune   # on several GPUs

Source of the recipe: Dettmers et al., "QLoRA", arXiv 2305.14314, section 4 and appendix B: NF4 with double
quantization, adapters on all linear layers, a constant base.
"""

import argparse
import contextlib
import errno
import functools
import gc
import hashlib
import json
import math
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import Trainer, TrainerCallback

from . import levers, memory, models, plots, sharing
from .embedded import corpus
from .errors import CourseError
from .sharing import load_adapter

__all__ = [
    "PRESETS",
    "Question",
    "Recipe",
    "Watch",
    "add_adapters",
    "answers",
    "arguments",
    "base_hash",
    "completions",
    "cost",
    "encode",
    "exact_match",
    "finished",
    "load_adapter",
    "losses",
    "make_chat_ready",
    "optimizer_bytes",
    "pack",
    "preset",
    "questions",
    "read_jsonl",
    "saved_activations",
    "train",
    "trainer",
]

ANSWER_TOKENS = 16  # the longest answer of the course is shorter
RECIPE = "recipe.json"  # in every checkpoint: what it may be resumed with
OPTIMIZERS = ("auto", "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit")


@dataclass(frozen=True)
class Question:
    """A question with its answer, and the entity (a person, country or element) that it is about."""

    entity: str
    question: str
    answer: str


@dataclass(frozen=True)
class Recipe:
    """All that one can turn. `steps` optimizer steps of `batch` sequences, at most `length` tokens each.

    What decides on the result comes first; from `checkpointing` on, levers that change what a step costs and not, but
    for rounding, what it computes (`helpers.levers` says how each works). `upcast` is the habit of peft's
    `prepare_model_for_kbit_training`. `optimizer` "auto" is AdamW, in 8 bits and paged on a GPU. `target_modules` is
    "all-linear" or names separated by commas. `compute_dtype` "auto" goes by the GPU's capability.
    """

    steps: int = 200
    batch: int = 16
    length: int = 128
    learning_rate: float = 5e-4
    rank: int = 16
    alpha: int = 16
    dropout: float = 0.0
    target_modules: str = "all-linear"
    optimizer: str = "auto"
    compute_dtype: str = "auto"
    seed: int = 0
    checkpointing: bool = True
    upcast: bool = False
    packing: bool = False
    fused: bool = False
    chunked: bool = False
    offload: bool = False
    liger: bool = False
    compiled: bool = False
    graph: bool = False

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
        if self.optimizer not in OPTIMIZERS:
            raise CourseError(f"Unknown optimizer {self.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}.")
        if self.dropout and (self.fused or self.graph):
            raise CourseError("fused and graph need dropout 0: what is drawn anew each time cannot be recorded.")
        if self.graph and self.compute_dtype == "float16":
            raise CourseError("graph needs bfloat16: float16's gradient scaler looks at every step before it is taken.")

    @property
    def targets(self) -> str | list[str]:
        """`target_modules` as peft takes them."""
        names = [name.strip() for name in self.target_modules.split(",")]
        return names[0] if names == ["all-linear"] else names


# What fits on a GPU of a size, for Mistral-7B. Turing GPUs (T4) have no bfloat16: float16 there.
PRESETS = {
    "6gb": {"batch": 1, "length": 512, "fused": True, "chunked": True, "offload": True},
    "t4": {"batch": 4, "length": 2048, "fused": True, "chunked": True, "offload": True, "compute_dtype": "float16"},
    "24gb": {"batch": 16, "length": 2048, "fused": True, "chunked": True, "offload": True},
    "80gb": {"batch": 32, "length": 4096, "fused": True, "chunked": True, "offload": True},
}


def preset(name: str, **changes) -> Recipe:
    """The recipe for a GPU's size, a name of `PRESETS`, with `changes`. Raises CourseError for another name."""
    if name not in PRESETS:
        raise CourseError(f"Unknown preset {name!r}: choose one of {', '.join(PRESETS)}.")
    return replace(Recipe(**{"learning_rate": 2e-4, **PRESETS[name]}), **changes)


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


def read_jsonl(path: str | Path, tokenizer=None, length: int = 128) -> list[Question]:
    """Read questions and answers from a file with one JSON object a line, `{"question": …, "answer": …}`.

    Blank lines are passed over. Raises CourseError with the number of the first line that is not JSON, lacks a field,
    holds an empty one, or, where a tokenizer is given, makes a turn of more than `length` tokens.
    """
    path = Path(path)
    if not path.is_file():
        raise CourseError(f"There is no file {path}: give one with a JSON object on each line.")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            item = json.loads(line)
        except ValueError as error:
            raise CourseError(f"{where} is not JSON ({error}): write one object a line.") from None
        for name in ("question", "answer"):
            value = item.get(name) if isinstance(item, dict) else None
            if not isinstance(value, str) or not value.strip():
                raise CourseError(f'{where} has no text for "{name}": each line needs "question" and "answer".')
        pair = Question(str(item.get("entity", number)), item["question"].strip(), item["answer"].strip())
        if tokenizer is not None:
            try:
                encode(tokenizer, pair, length)
            except CourseError as error:
                raise CourseError(f"{where}: {error}") from None
        found.append(pair)
    if not found:
        raise CourseError(f"{path.name} holds no questions: write one JSON object a line.")
    return found


def pack(data: Sequence[dict], length: int) -> list[list[dict]]:
    """Put turns together into rows of at most `length` tokens: each goes into the first row with room, longest first.

    Returns rows of turns, as made by `encode`. Raises CourseError for a turn that is longer than a row.
    """
    rows, room = [], []
    for turn in sorted(data, key=lambda turn: len(turn["input_ids"]), reverse=True):
        size = len(turn["input_ids"])
        if size > length:
            raise CourseError(f"A turn has {size} tokens and length is {length}: raise it to {size} or more.")
        place = next((i for i, free in enumerate(room) if free >= size), None)
        if place is None:
            rows.append([])
            room.append(length)
            place = len(rows) - 1
        rows[place].append(turn)
        room[place] -= size
    return rows


class _Packed:
    """Collate rows of turns: all tensors are (batch, length), and a mask keeps each turn to itself."""

    def __init__(self, length: int, padding: int):
        self.length, self.padding = length, padding

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        shape = len(rows), self.length
        ids, labels = torch.full(shape, self.padding), torch.full(shape, -100)
        turn, places = torch.full(shape, -1), torch.zeros(shape, dtype=torch.long)
        for i, row in enumerate(rows):
            begin = 0
            for number, part in enumerate(row["turns"]):
                end = begin + len(part["input_ids"])
                ids[i, begin:end] = torch.tensor(part["input_ids"])
                labels[i, begin:end] = torch.tensor(part["labels"])
                turn[i, begin:end], places[i, begin:end] = number, torch.arange(end - begin)
                begin = end
        same = turn[:, :, None] == turn[:, None, :]
        causal = torch.ones(self.length, self.length, dtype=torch.bool).tril()
        mask = (same & causal)[:, None]  # padding sees padding: a row of a softmax must not be empty
        return {"input_ids": ids, "labels": labels, "position_ids": places, "attention_mask": mask}


def add_adapters(model: nn.Module, recipe: Recipe) -> nn.Module:
    """Freeze the quantized model, add LoRA to the recipe's layers, pull its levers, and return the peft model.

    Adapters are float32 (float16 ones break the gradient scaler, bfloat16 ones lose small updates). Unlike peft's
    `prepare_model_for_kbit_training` this leaves embeddings and head in 16 bits, unless `upcast` asks for it.
    """
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if recipe.upcast:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if recipe.checkpointing:
        # without re-entrance, or frozen layers below the first adapter would stop the gradient
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
        # a graph cannot keep the state of random numbers, and without dropout none are drawn
        enable({"use_reentrant": False, **({"preserve_rng_state": False} if recipe.graph else {})})
        model.config.use_cache = False  # nothing is generated during training
    torch.manual_seed(recipe.seed)  # A is drawn at random: without a seed, runs and ranks would differ
    lora = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=recipe.targets,
        task_type="CAUSAL_LM",
    )
    try:
        adapted = get_peft_model(model, lora)
    except ValueError as error:
        raise CourseError(f"LoRA finds no layer for target_modules={recipe.target_modules!r}.") from error
    if recipe.liger:
        levers.use_liger(adapted)
    if recipe.fused:
        levers.fuse_adapters(adapted)
    if recipe.chunked:
        levers.chunk_loss(adapted)
    if recipe.compiled:
        levers.compile_layers(adapted)
    return adapted


def arguments(recipe: Recipe, folder: str | Path, device: torch.device, save_steps: int = 0):
    """Return transformers' `TrainingArguments`: every loss logged, a checkpoint each `save_steps`, no reports."""
    from transformers import TrainingArguments

    cuda = device.type == "cuda"
    half = models.compute_dtype(recipe.compute_dtype, device)
    usual = "paged_adamw_8bit" if cuda else "adamw_torch"
    made = TrainingArguments(
        output_dir=str(folder),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=max(1, recipe.steps // 16),
        max_grad_norm=1.0,
        optim=usual if recipe.optimizer == "auto" else recipe.optimizer,
        bf16=half == torch.bfloat16,
        fp16=half == torch.float16,
        seed=recipe.seed,
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        remove_unused_columns=False,
        label_names=["labels"],
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is not a number has to be seen: `_Guard` stops there
        save_strategy="steps" if save_steps else "no",
        save_steps=save_steps or 500,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
    )
    made._n_gpu = min(1, made.n_gpu)  # where there are several GPUs, Trainer would copy the model to all, unasked
    return made


class _Trainer(Trainer):
    """`Trainer` with the levers that act on a whole step, and checkpoints that are whole or not there."""

    def __init__(self, *given, recipe: Recipe, **named):
        super().__init__(*given, **named)
        self.recipe = recipe
        self._offload = levers.Offload() if recipe.offload else None
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        if plugin is not None:
            # FSDP would put buffers into 16 bits, too, and with rotary frequencies in bfloat16 positions are wrong
            plugin.set_mixed_precision = functools.partial(plugin.set_mixed_precision, buffer_autocast=True)
            if plugin.mixed_precision_policy is not None:
                plugin.mixed_precision_policy.buffer_dtype = torch.float32
        self._graphed = None

    def compute_loss(self, *given, **named):
        with self._offload or contextlib.nullcontext():
            return super().compute_loss(*given, **named)

    def training_step(self, model, inputs, num_items_in_batch=None):
        if not self.recipe.graph:
            return super().training_step(model, inputs, num_items_in_batch)
        if self._graphed is None:
            if self.args.world_size > 1 or self.args.gradient_accumulation_steps > 1:
                raise CourseError("graph records the step of one process without accumulation: leave it off here.")
            self._graphed = levers.GraphedStep(model.train(), self._offload)
        inputs = self._prepare_inputs(inputs)
        mask = inputs.get("attention_mask")
        if mask is not None and mask.dim() == 2:
            raise CourseError("graph needs batches that are full: turn on packing.")
        return self._graphed({**inputs, "num_items_in_batch": torch.as_tensor(num_items_in_batch).to(model.device)})

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, state_dict)
        if self.is_fsdp_enabled and self.args.should_save:
            # peft 0.21 looks for adapters by the names of modules, to which FSDP adds: it has written an empty file
            lora = {name.replace(".default.", "."): value for name, value in state_dict.items() if ".lora_" in name}
            save_file(lora, Path(output_dir) / "adapter_model.safetensors", {"format": "pt"})

    def _save_checkpoint(self, model, trial):
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
            if self.args.should_save:
                (folder / RECIPE).write_text(json.dumps(asdict(self.recipe), indent=1) + "\n", encoding="utf-8")
        except Exception as error:
            # torch and safetensors wrap what the system says
            full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
            if not full and not isinstance(error, OSError):
                raise
            shutil.rmtree(folder, ignore_errors=True)
            kept = _checkpoints(self.args.output_dir)
            left = f"the last good checkpoint is {kept[-1].name}" if kept else "there is no earlier checkpoint"
            why = "the disk is full" if full else f"{type(error).__name__}: {error}"
            raise CourseError(
                f"Checkpoint {self.state.global_step} could not be saved ({why}); {left}: make room and go on with "
                "--resume."
            ) from error


def _checkpoints(folder: str | Path) -> list[Path]:
    """Complete checkpoints in a folder, oldest first: the recipe is what is written last."""
    found = [path.parent for path in Path(folder).glob(f"checkpoint-*/{RECIPE}")]
    return sorted(found, key=lambda path: int(path.name.split("-")[-1]))


def _resumable(folder: str | Path, recipe: Recipe) -> Path:
    """The newest checkpoint; raises CourseError if there is none, or if it is of another recipe."""
    if not (found := _checkpoints(folder)):
        raise CourseError(f"There is no checkpoint in {folder} to resume: start without --resume.")
    saved = json.loads((found[-1] / RECIPE).read_text(encoding="utf-8"))
    mine = asdict(recipe)
    other = [
        f"{name} {saved.get(name)!r} there and {mine[name]!r} here" for name in mine if mine[name] != saved.get(name)
    ]
    if other:
        raise CourseError(
            f"{found[-1].name} is of another configuration ({'; '.join(other)}): use that, or start anew."
        )
    return found[-1]


class _Guard(TrainerCallback):
    """Stops at a loss that is not a number, and on Ctrl-C at the end of the step, with a checkpoint if any are kept."""

    def __init__(self, save: bool):
        self.save, self.interrupted, self.before = save, False, None

    def on_train_begin(self, args, state, control, **given):
        if threading.current_thread() is threading.main_thread():
            self.before = signal.signal(signal.SIGINT, self.interrupt)

    def interrupt(self, *_):
        if self.interrupted:  # twice: at once
            raise KeyboardInterrupt
        self.interrupted = True

    def on_step_end(self, args, state, control, **given):
        if self.interrupted:
            control.should_training_stop, control.should_save = True, self.save

    def on_train_end(self, args, state, control, **given):
        self.restore()

    def restore(self):
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)
            self.before = None

    def on_log(self, args, state, control, logs=None, **given):
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise CourseError(
                f"The loss is {loss} at step {state.global_step}: lower the learning rate ({args.learning_rate:g}), or "
                "train in bfloat16 instead of float16."
            )


def trainer(
    model: nn.Module,
    tokenizer,
    data: Sequence[dict],
    recipe: Recipe,
    folder: str | Path,
    callbacks=(),
    save_steps: int = 0,
):
    """Return a `Trainer` for a model with adapters; `data` as made by `encode`. `trainer.train()` starts it.

    A checkpoint goes to `folder` every `save_steps` steps, the last two are kept; 0 saves none.
    """
    from transformers import DataCollatorForSeq2Seq, PrinterCallback

    if recipe.packing:
        rows = [{"turns": turns} for turns in pack(data, recipe.length)]
        collate = _Packed(recipe.length, tokenizer.pad_token_id)
    else:
        # ids with the padding token and labels with -100, which the loss leaves out; few different lengths are kind
        # to the allocator, and multiples of 8 to matrix units
        rows, collate = list(data), DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=8)
    made = _Trainer(
        model=model,
        args=arguments(recipe, folder, model.device, save_steps),
        train_dataset=rows,
        data_collator=collate,
        callbacks=[*callbacks, _Guard(save_steps > 0)],
        recipe=recipe,
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


def train(
    model: nn.Module,
    tokenizer,
    pairs: Sequence[Question],
    recipe: Recipe,
    callbacks=(),
    checkpoints: str | Path | None = None,
    save_steps: int = 0,
    resume: bool = False,
    out: str | Path | None = None,
):
    """Fine-tune a freshly loaded model on `pairs`; return (peft model, losses by step). The base is left as it was.

    `checkpoints` is a folder that keeps the last two of them, one every `save_steps` (a tenth of the steps by default)
    and, after Ctrl-C, one of the last whole step. `resume` goes on from the newest. Raises CourseError at a loss that
    is not a number, for a full disk, and for a checkpoint of another recipe. `out` is a folder for the adapter,
    gathered from all processes if the model lies in shards.
    """
    last = _resumable(checkpoints, recipe) if resume and checkpoints else None
    if checkpoints and not save_steps:
        save_steps = max(1, recipe.steps // 10)
    adapted = add_adapters(model, recipe)
    data = [encode(tokenizer, pair, recipe.length) for pair in pairs]
    with contextlib.ExitStack() as stack:
        folder = checkpoints or stack.enter_context(tempfile.TemporaryDirectory())
        made = trainer(adapted, tokenizer, data, recipe, folder, callbacks, save_steps if checkpoints else 0)
        guard = next(c for c in made.callback_handler.callbacks if isinstance(c, _Guard))
        stack.callback(guard.restore)
        made.train(resume_from_checkpoint=str(last) if last else None)
        if guard.interrupted and not checkpoints:
            raise KeyboardInterrupt
        if out:
            made.save_model(str(out))
            (Path(out) / "training_args.bin").unlink(missing_ok=True)  # a pickle, with folders of this machine
    return finished(made), losses(made)


class _Clock(TrainerCallback):
    """Seconds of each step, the GPU idle at both ends."""

    def __init__(self):
        self.marks = []

    def on_step_begin(self, args, state, control, **given):
        _wait()
        self.begun = time.perf_counter()

    def on_step_end(self, args, state, control, **given):
        _wait()
        self.marks.append(time.perf_counter() - self.begun)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def cost(choice, recipe: Recipe, pairs: Sequence[Question]) -> dict:
    """What a few steps of a recipe take on a freshly loaded model, and the losses they give.

    Returns `seconds` (median of a step, the first left out) and their `span` (least, most), `turns` and `tokens` a step
    (padding counted), `kept` bytes for the backward pass, `peak` bytes of the allocator (None on a CPU; what was there
    before is not counted), and `losses`.
    """
    cuda = torch.cuda.is_available()
    gc.collect()  # a `Trainer` and its model refer to each other, and so stay until somebody looks
    before = torch.cuda.memory_allocated() if cuda else 0
    model, tokenizer = models.load(choice, "nf4-dq", recipe.compute_dtype)
    make_chat_ready(tokenizer)
    model = add_adapters(model, recipe)
    data = [encode(tokenizer, pair, recipe.length) for pair in pairs]
    with tempfile.TemporaryDirectory() as folder:
        made = trainer(model, tokenizer, data, recipe, folder, [clock := _Clock()])
        batch = made._prepare_inputs(next(iter(made.get_train_dataloader())))
        kept = None if cuda else saved_activations(model.train(), batch)
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        made.train()
    turns = len(data) / len(made.train_dataset) * recipe.batch
    counted = clock.marks[1:] or clock.marks
    found = {"seconds": statistics.median(counted), "span": [min(counted), max(counted)], "turns": turns, "kept": kept}
    found["tokens"] = batch["input_ids"].numel()
    found["peak"] = torch.cuda.max_memory_allocated() - before if cuda else None
    return found | {"losses": losses(made)}


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
        return tensor.detach()  # the tensor itself knows its graph, and so the graph would keep itself alive

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(**rows).loss
    del loss
    gc.collect()  # what Python's own cycles still hold
    return sum(kept.values())


def optimizer_bytes(optimizer) -> int:
    """Bytes of an optimizer's state: for AdamW in float32 two numbers of 4 bytes for each trained parameter."""
    inner = getattr(optimizer, "optimizer", optimizer)
    tensors = [t for state in inner.state.values() for t in state.values() if isinstance(t, torch.Tensor)]
    return sum(t.numel() * t.element_size() for t in tensors if t.dim())


def main(arguments_given: Sequence[str] | None = None) -> dict:
    """Fine-tune, print losses and exact match before and after, and save the adapter if a folder is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-id", default="embedded")
    parser.add_argument("--scheme", default="nf4-dq")
    parser.add_argument("--preset", choices=PRESETS, help="batch, length and levers for a GPU of that size")
    parser.add_argument("--data", type=Path, help='your own questions: a file of {"question": …, "answer": …} lines')
    parser.add_argument("--held-out", type=int, default=200, help="questions to ask before and after; 0 asks none")
    parser.add_argument("--out", type=Path, help="folder for the adapter")
    parser.add_argument("--checkpoints", type=Path, help="folder for checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    for item in fields(Recipe):
        how = {"action": argparse.BooleanOptionalAction} if item.type is bool else {"type": item.type}
        parser.add_argument(f"--{item.name.replace('_', '-')}", default=None, **how)
    given = parser.parse_args(arguments_given)
    changes = {item.name: getattr(given, item.name) for item in fields(Recipe)}
    changes = {name: value for name, value in changes.items() if value is not None}
    recipe = preset(given.preset, **changes) if given.preset else Recipe(**changes)
    if given.resume and not given.checkpoints:
        raise CourseError("--resume goes on from a checkpoint: name their folder with --checkpoints.")
    rank = int(os.environ.get("RANK", 0))
    local = int(os.environ.get("LOCAL_RANK", 0))
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
    choice = models.resolve(given.model_id)
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "false") == "true"
    model, tokenizer = models.load(choice, given.scheme, recipe.compute_dtype, sharded=sharded)
    make_chat_ready(tokenizer)
    count = recipe.steps * recipe.batch * int(os.environ.get("WORLD_SIZE", 1))
    pairs, kept = questions(count, given.held_out, recipe.seed, choice.kind == "embedded")
    if given.data:  # the course's held-out questions say nothing about other data
        pairs, kept = read_jsonl(given.data, tokenizer, recipe.length), []
    # one process asks, the others wait where gradients meet; a model in shards cannot answer
    asking = kept and rank == 0 and not sharded
    before = exact_match(answers(model, tokenizer, kept), kept) if asking else None
    shown = [_Line()] if rank == 0 else []
    adapted, curve = train(
        model, tokenizer, pairs, recipe, shown, given.checkpoints, resume=given.resume, out=given.out
    )
    after = exact_match(answers(adapted, tokenizer, kept), kept) if asking else None
    if given.out and rank == 0:
        tokenizer.save_pretrained(given.out)  # its chat template is part of what was trained
        sharing.make_public(given.out, choice)
    report = {"recipe": asdict(recipe), "losses": curve, "exact_match": {"before": before, "after": after}}
    if rank == 0:
        print(json.dumps({**report, "losses": [curve[0], curve[-1]]}, indent=1))
    return report


class _Line(TrainerCallback):
    """Progress on a terminal: the step and its loss, on one line that is written over."""

    def on_log(self, args, state, control, logs=None, **given):
        if sys.stderr.isatty() and "loss" in (logs or {}):
            end = "\n" if state.global_step >= state.max_steps else "\r"
            print(f"step {state.global_step} of {state.max_steps}, loss {logs['loss']:.3f} ", end=end, file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except CourseError as error:
        raise SystemExit(str(error)) from None

"""Train adapters with `Trainer`, every loss kept and every lever pulled."""

import contextlib
import math
import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import DistributedDataParallelKwargs
from torch import nn
from transformers import Trainer, TrainerCallback

from .. import files, levers, memory, models, plots, schemes, sharding
from ..adapters import add_adapters
from ..errors import CourseError
from ..layers import working_device
from ..recipe import IN_SHARDS, Recipe
from .checkpoints import resumable, whole_or_gone, write_recipe
from .data import Packed, Question, check_ids, encode, pack

__all__ = ["Watch", "arguments", "finished", "losses", "train", "trainer"]

UNPACKED = 0.05  # of a hidden state's length: 16 bits and another order of sums stay below, a neighbor that is seen not


def arguments(recipe: Recipe, folder: str | Path, device: torch.device, save_steps: int = 0):
    """Return transformers' `TrainingArguments`: every loss logged, a checkpoint each `save_steps`, no reports."""
    from transformers import TrainingArguments

    cuda = device.type == "cuda"
    half = models.compute_dtype(recipe.compute_dtype, device)
    if slow := schemes.emulated(half, device):
        raise CourseError(slow)
    if recipe.graph and half == torch.float16:
        raise CourseError("graph needs bfloat16, which this GPU has no hardware for: leave it off.")
    usual = "paged_adamw_8bit" if cuda else "adamw_torch"
    usual = IN_SHARDS if sharding.wanted() else usual
    settings = TrainingArguments(
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
    settings._n_gpu = min(
        1, settings.n_gpu
    )  # where there are several GPUs, Trainer would copy the model to all, unasked
    return settings


class _Trainer(Trainer):
    """`Trainer` with the levers that act on a whole step, and checkpoints that are whole or not there."""

    def __init__(self, *given, recipe: Recipe, **named):
        super().__init__(*given, **named)
        self.recipe = recipe
        self._offload = levers.Offload() if recipe.offload else None
        self._graphed = self._one = self._parts = None
        if sharding.is_sharded(self.model):  # it owns its placement: accelerate adds the dtype it computes in, no more
            prepared = self.accelerator.prepare_model
            self.accelerator.prepare_model = lambda model, **_: prepared(model, False, evaluation_mode=True)
        elif self.args.world_size > 1:  # gradients lie where they travel, and frequencies of positions never change
            how = {"gradient_as_bucket_view": True, "broadcast_buffers": False}
            self.accelerator.ddp_handler = DistributedDataParallelKwargs(**how)

    def compute_loss(self, *given, **named):
        with self._offload or contextlib.nullcontext():
            return super().compute_loss(*given, **named)

    def create_optimizer(self, model=None):
        if self.optimizer is None and self.recipe.one_tensor:
            if self.args.world_size > 1:
                raise CourseError("one_tensor is for one process: several hand gradients out one by one. Leave it off.")
            self._one = levers.OneTensor(self.model)
            kind, given = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            groups = [{"params": [self._one.parameter], "weight_decay": self.args.weight_decay}]
            self.optimizer = kind(groups, **given)
        if self.optimizer is None and sharding.is_sharded(self.model):
            self._parts = sharding.Parts(self.model)
            kind, given = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = kind(self._parts.parameters, **given)
            self.optimizer.register_step_post_hook(lambda *_: self._parts.forget())
        return super().create_optimizer(model)

    def _clip_grad_norm(self, model):
        if self._parts is not None:
            return self._parts.clip(self.args.max_grad_norm)
        if self._one is None:
            return super()._clip_grad_norm(model)
        return self.accelerator.clip_grad_norm_([self._one.parameter], self.args.max_grad_norm)

    def training_step(self, model, inputs, num_items_in_batch=None):
        if self._one and not self.recipe.graph:
            self._one.begin()
        if not self.recipe.graph:
            return super().training_step(model, inputs, num_items_in_batch)
        if self._graphed is None:
            if self.args.world_size > 1 or self.args.gradient_accumulation_steps > 1:
                raise CourseError("graph records the step of one process without accumulation: leave it off here.")
            self._graphed = levers.GraphedStep(model.train(), self._offload, self._one)
        inputs = self._prepare_inputs(inputs)
        mask = inputs.get("attention_mask")
        if mask is not None and mask.dim() == 2:
            raise CourseError("graph needs batches that are full: turn on packing.")
        return self._graphed({**inputs, "num_items_in_batch": torch.as_tensor(num_items_in_batch).to(model.device)})

    def save_model(self, output_dir=None, _internal_call=False):
        if self._parts is None:
            return super().save_model(output_dir, _internal_call)
        Path(output_dir or self.args.output_dir).mkdir(parents=True, exist_ok=True)
        state = sharding.gathered(self.model)  # every process takes part, and the first one writes
        if self.args.should_save:
            self.model.save_pretrained(output_dir or self.args.output_dir, state_dict=state)

    def _save_optimizer_and_scheduler(self, output_dir):
        super()._save_optimizer_and_scheduler(output_dir)
        if self._parts is not None and sharding.rank():  # each process its own part; `super` wrote the first one's
            torch.save(self.optimizer.state_dict(), Path(output_dir) / f"optimizer_{sharding.rank()}.pt")

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        if self._parts is None and not sharding.is_sharded(self.model):
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        sharding.spread(self.model, resume_from_checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self._parts is not None and sharding.rank():
            mine = Path(checkpoint) / f"optimizer_{sharding.rank()}.pt"
            self.optimizer.load_state_dict(torch.load(mine, map_location="cpu", weights_only=True))

    def _save_checkpoint(self, model, trial):
        with whole_or_gone(self.args.output_dir, self.state.global_step):
            super()._save_checkpoint(model, trial)
            if self.args.world_size > 1:  # whole is what every process has written
                self.accelerator.wait_for_everyone()
            if self.args.should_save:
                write_recipe(self.args.output_dir, self.state.global_step, self.recipe)


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
        if args.world_size > 1:  # all of them stop behind the same step, or the others would wait for ever
            from torch import distributed

            seen = torch.tensor(float(self.interrupted), device=args.device)
            distributed.all_reduce(seen)
            self.interrupted = bool(seen)
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
        collate = Packed(recipe.length, tokenizer.pad_token_id)
        _try_packing(model, rows[0]["turns"], collate)  # the row with the longest turn
    else:
        # ids with the padding token and labels with -100, which the loss leaves out; few different lengths are kind
        # to the allocator, and multiples of 8 to matrix units
        rows, collate = list(data), DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=8)
    built = _Trainer(
        model=model,
        args=arguments(recipe, folder, working_device(model), save_steps),
        train_dataset=rows,
        data_collator=collate,
        callbacks=[*callbacks, _Guard(save_steps > 0)],
        recipe=recipe,
    )
    built.remove_callback(PrinterCallback)
    return built


@torch.no_grad()
def _try_packing(model: nn.Module, turns: list[dict], collate: Packed) -> None:
    """Raise CourseError unless each turn of a packed row is read as it is read alone.

    The mask keeps turns apart, but it also takes the place of a family's own: of the windows of some layers, and of
    distances that are counted from a mask.
    """
    config = model.config.get_text_config(decoder=True)
    window, longest = getattr(config, "sliding_window", None), max(len(turn["input_ids"]) for turn in turns)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
    if window and longest > window and any("sliding" in kind for kind in kinds):
        raise CourseError(
            f"A turn has {longest} tokens, and layers of this model look back {window} at most, which a packed row "
            "does not heed: leave packing off."
        )
    decoder, name = model.base_model, "last_hidden_state"
    if hasattr(model, "get_base_model"):
        decoder = model.get_base_model().base_model
    if sharding.is_sharded(model):  # shards are gathered on the way through the whole model
        decoder, name = model, "logits"
    was_training, begin, off, device = model.training, 0, [], working_device(model)
    model.eval()
    try:
        row = {name: tensor.to(device) for name, tensor in collate([{"turns": turns}]).items() if name != "labels"}
        packed = decoder(**row, use_cache=False)[name][0]
        for turn in turns:
            ids = torch.tensor([turn["input_ids"]], device=device)
            alone = decoder(input_ids=ids, use_cache=False)[name][0].float()
            there = packed[begin : begin + len(alone)].float()
            off.append(((there - alone).norm() / alone.norm()).item())
            begin += len(alone)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError):
        off.append(math.inf)
    finally:
        model.train(was_training)
    if not all(distance < UNPACKED for distance in off):
        raise CourseError(
            f"A {type(decoder).__name__} reads a turn differently beside others in a row than alone: leave packing off."
        )


def losses(made) -> list[float]:
    """Return the loss of each step, mean nats a token of answers, from a `Trainer` that has run."""
    return [entry["loss"] for entry in made.state.log_history if "loss" in entry]


class Watch(TrainerCallback):
    """Draws the loss while it falls, every tenth of the way, and notes the bytes of the gradients.

    With `vocabulary`, the number of tokens, a line marks the loss of guessing evenly among them: its logarithm.
    """

    def __init__(self, vocabulary: int = 0):
        self.handle, self.gradients, self.vocabulary = None, 0, vocabulary

    def on_pre_optimizer_step(self, args, state, control, model=None, **given):
        self.gradients = memory.measure(model).parts["gradients"]

    def on_log(self, args, state, control, **given):
        curve = [entry["loss"] for entry in state.log_history if "loss" in entry]
        if len(curve) % max(1, state.max_steps // 10) and len(curve) < state.max_steps:
            return
        recent = sum(curve[-10:]) / len(curve[-10:])
        title = f"Step {len(curve)} of {state.max_steps}: loss {recent:.2f} (the mean of the last ten)"
        axes = {"xlabel": "step", "ylabel": "loss per token", "markers": len(curve) < 20}
        fig = plots.lines(range(1, len(curve) + 1), {"loss": curve}, title=title, logy=True, **axes)
        if self.vocabulary:
            guessing = math.log(self.vocabulary)
            fig.axes[0].axhline(guessing, color="#767676", ls=":", lw=1.2)
            said = f"guessing evenly among {self.vocabulary:,} tokens: {guessing:.2f}"
            fig.axes[0].annotate(said, (state.max_steps, guessing), (0, 4), textcoords="offset points", ha="right")
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
    keep: Callable[[Trainer], object] | None = None,
):
    """Fine-tune a freshly loaded model on `pairs`; return (peft model, losses by step). The base is left as it was.

    A model that `sharding.build` made has its adapters already.

    `checkpoints` is a folder that keeps the last two of them, one every `save_steps` (a tenth of the steps by default)
    and, after Ctrl-C, one of the last whole step. `resume` goes on from the newest. Raises CourseError at a loss that
    is not a number, for a full disk, for a checkpoint of another recipe, and for a folder of somebody's files: old
    checkpoints are removed there. `keep` is called in every process with the Trainer that has run, also after Ctrl-C,
    to save what was trained before anything else can fail.
    """
    if checkpoints:
        files.claim(Path(checkpoints))
    last = resumable(checkpoints, recipe) if resume and checkpoints else None
    if checkpoints and not save_steps:
        save_steps = max(1, recipe.steps // 10)
    check_ids(model, tokenizer)
    adapted = model if hasattr(model, "peft_config") else add_adapters(model, recipe)
    data = [encode(tokenizer, pair, recipe.length) for pair in pairs]
    with contextlib.ExitStack() as stack:
        folder = checkpoints or stack.enter_context(tempfile.TemporaryDirectory())
        run = trainer(adapted, tokenizer, data, recipe, folder, callbacks, save_steps if checkpoints else 0)
        guard = next(c for c in run.callback_handler.callbacks if isinstance(c, _Guard))
        stack.callback(guard.restore)
        run.train(resume_from_checkpoint=str(last) if last else None)
        if keep:
            keep(run)
        if guard.interrupted and not checkpoints:
            raise KeyboardInterrupt(f"after step {run.state.global_step} of {recipe.steps}")
    return finished(run), losses(run)


def finished(made) -> nn.Module:
    """Return the model of a `Trainer` that has run, in evaluation mode, without the mixed precision it ran under.

    `Trainer` leaves its autocast around the model's forward pass; a saved and reloaded adapter has none, and its logits
    would differ in the last bits.
    """
    return made.accelerator.unwrap_model(made.model, keep_fp32_wrapper=False).eval()

"""A model in shards: each GPU keeps a part of every layer, and gathers a whole layer while that one computes.

What PyTorch calls FSDP2 (`torch.distributed.fsdp.fully_shard`), around layers in 4 bits: what travels are codes, not
16-bit weights. The model is made layer by layer, quantized on the GPU and cut at once, so that no process ever holds
more of it than its own shards and one layer.
"""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from . import levers, memory, models, schemes, skeleton
from .adapters import prepare
from .errors import CourseError, first_line
from .models import hub, shapes
from .recipe import Recipe

__all__ = ["Parts", "build", "gathered", "is_sharded", "on_host", "rank", "spread", "start", "wanted", "world"]

ASKED = "ACCELERATE_USE_FSDP"  # what `accelerate launch` sets for a configuration with FSDP


def rank() -> int:
    """The number of this process among those of a run, from 0."""
    return int(os.environ.get("RANK", 0))


def world() -> int:
    """The number of processes of a run."""
    return int(os.environ.get("WORLD_SIZE", 1))


def wanted() -> bool:
    """Whether the run was launched with a configuration that asks for shards."""
    return os.environ.get(ASKED, "false") == "true" or os.environ.get("COURSE_SHARDS") == "true"


def on_host() -> bool:
    """Whether shards wait in the computer's memory (`fsdp_offload_params: true` in the configuration)."""
    return os.environ.get("FSDP_OFFLOAD_PARAMS", "false") == "true"


def start() -> None:
    """Join the processes of a run, one for each GPU, and take this one's GPU. One process alone has nothing to join.

    Raises CourseError for more processes than GPUs, and for a PyTorch that cannot let GPUs talk to each other. Says how
    much the smallest card has if they differ: all of them hold the same.
    """
    if wanted():  # accelerate would have every process load the whole model, and cut it then: it may see processes only
        os.environ |= {ASKED: "false", "COURSE_SHARDS": "true"}
    local, cuda = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.is_available()
    if cuda and local >= torch.cuda.device_count():
        raise CourseError(
            f"This machine has {torch.cuda.device_count()} GPU(s) for {os.environ.get('LOCAL_WORLD_SIZE', world())} "
            f"processes, and each needs its own: launch with --num_processes {torch.cuda.device_count()}."
        )
    if cuda:
        torch.cuda.set_device(local)
    if world() == 1:
        return
    from accelerate import PartialState
    from torch import distributed

    if cuda and not distributed.is_nccl_available():
        raise CourseError(
            "Several GPUs talk to each other through NCCL, which this PyTorch was built without: use Linux, or one GPU."
        )
    PartialState(cpu=not cuda)  # starts the group of processes, over NCCL or, on CPUs, gloo
    if cuda:
        cards = [None] * world()
        distributed.all_gather_object(cards, torch.cuda.mem_get_info()[1])
        if rank() == 0 and max(cards) > 1.05 * min(cards):
            print(
                f"The cards differ, from {min(cards) / 1e9:.1f} to {max(cards) / 1e9:.1f} GB. All of them hold the "
                "same, so the smallest one decides what fits."
            )


class _Random:
    """Values from a seed, the ones that `models.shape_model` draws; every process draws all of them."""

    def __init__(self, device: torch.device, seed: int = 0):
        self.device, self.generator = device, torch.Generator(device).manual_seed(seed)

    def __call__(self, name: str, parameter: nn.Parameter) -> torch.Tensor:
        return shapes.random_values(name.rpartition(".")[2], parameter, self.device, self.generator)


class _Stored:
    """Values from a checkpoint's files, one tensor at a time."""

    def __init__(self, folder: Path, model_id: str, device: torch.device):
        self.device, self.model_id, self.files, self.place = device, model_id, {}, {}
        for file in hub.weight_files(folder):
            try:
                self.files[file] = safe_open(file, framework="pt")
                self.place |= dict.fromkeys(self.files[file].keys(), file)
            except (SafetensorError, OSError) as error:
                raise CourseError(
                    f"The weights file {file.name} of {model_id} is damaged: delete it, and download or save it again."
                ) from error

    def __call__(self, name: str, parameter: nn.Parameter) -> torch.Tensor:
        if name not in self.place:
            raise CourseError(
                f"The weights of {self.model_id} lack the tensor {name}, or have another name for it, and what is read "
                "layer by layer needs the model's names: train it on one GPU."
            )
        values = self.files[self.place[name]].get_tensor(name)
        if values.shape != parameter.shape:
            raise CourseError(f"{name} of {self.model_id} is {list(values.shape)}, not {list(parameter.shape)}.")
        return values.to(self.device, parameter.dtype)


def build(model_id, recipe: Recipe, scheme: str = "nf4-dq") -> nn.Module:
    """Make a model with new adapters, of which this process holds its shards; return the peft model, to be trained.

    `model_id` as in `models.resolve`: random weights of exact shapes, or a checkpoint's files, which every process
    reads tensor by tensor. `start` comes before. The base's bytes are those that one process alone would have, and so
    are the adapters'. Raises CourseError if the forecast of a training step does not fit, for recipes whose levers need
    one process, and for a checkpoint that lacks tensors.
    """
    choice, device = models.resolve(model_id, scheme), schemes.device_of("auto")
    for lever in ("graph", "one_tensor", "compiled"):
        if getattr(recipe, lever):
            raise CourseError(f"{lever} is for a whole model in one process, and this one is in shards: leave it off.")
    config = skeleton.config_of(models.config(choice))
    if device.type == "cuda":
        needed = memory.predict(config, scheme, recipe=recipe, shards=world(), on_host=on_host())
        free = models.free_memory(device)
        if needed.allocator_bytes > free:
            raise CourseError(
                f"A step of {choice.model_id} needs {needed.allocator_bytes / 1e9:.1f} GB on each of {world()} GPUs, "
                f"and {free / 1e9:.1f} GB are free: take more GPUs, a smaller --length or --batch, or a smaller model."
            )
    if scheme == "int8":
        raise CourseError("int8 keeps its codes where FSDP does not look for them: take nf4-dq, or one GPU.")
    dtype = schemes.rest_dtype(scheme, recipe.compute_dtype, device)
    if dtype == torch.float16:
        raise CourseError(
            "Shards need bfloat16: float16's gradient scaler would have to see all of them. Take one GPU."
        )
    shell, quantizer = skeleton.skeleton(config, dtype, schemes.bnb_config(scheme, recipe.compute_dtype, device, True))
    if quantizer is not None:
        shell.hf_quantizer = quantizer
        quantizer.postprocess_model(shell)
    model = prepare(shell, recipe, on_meta=True)
    if choice.kind == "shape":
        source = _Random(device)
    else:
        source = _Stored(choice.folder or hub.cached(choice.model_id) or hub.download(choice), choice.model_id, device)
    torch.manual_seed(recipe.seed)  # of the adapters, as in `add_adapters`
    _fill(model, source, config, device)
    if recipe.liger:
        levers.use_liger(model)
    return model.eval()


def _fill(model: nn.Module, source, config, device: torch.device) -> None:
    """Give every parameter its values, and cut what is whole: the embeddings, each layer, and at last the rest."""
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh(device.type, (world(),))
    decoder = model.get_base_model().base_model
    tied = config.get_text_config(decoder=True).tie_word_embeddings
    # a head reads the weight itself, not through its module, so it stays whole during a step, with what it shares
    units = [] if tied else [decoder.get_input_embeddings()]
    units += list(decoder.layers)
    names = {module: name.removeprefix("base_model.model.") for name, module in model.named_modules()}
    unit_of = {module: unit for unit in units for module in unit.modules()}
    filled, current = {}, None  # by the parameter that it takes the place of, since modules may share one
    for module in list(names):
        unit = unit_of.get(module)
        if current is not None and unit is not current:
            _cut(current, mesh)
        current = unit
        if _is_adapted(module):
            _draw_adapter(module, device)
        if "lora_" not in names[module]:
            for name, parameter in list(module.named_parameters(recurse=False)):
                if parameter in filled:
                    setattr(module, name, filled[parameter])
                    continue
                values = source(f"{names[module]}.{name}".replace(".base_layer", ""), parameter)
                setattr(module, name, _plain(module, shapes.finished(module, name, parameter, values)))
                if unit is None:  # a unit's own is not kept, or the whole layer would stay alive here
                    filled[parameter] = getattr(module, name)
        shapes.fill_buffers(module, config, device)
    _cut(model, mesh)
    in_order = [unit for unit in units if unit in set(decoder.layers)]
    for layer, following in zip(in_order, in_order[1:], strict=False):
        layer.set_modules_to_forward_prefetch([following])
        following.set_modules_to_backward_prefetch([layer])


def _cut(module: nn.Module, mesh) -> None:
    """Leave this process its part of a module's parameters, unless they belong to a unit that was cut before."""
    from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard

    cuda = mesh.device_type == "cuda"
    waiting = CPUOffloadPolicy(pin_memory=cuda) if on_host() else OffloadPolicy()
    # no dtype is changed on the way: codes are not numbers, whatever dtype they travel in
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    fully_shard(module, mesh=mesh, mp_policy=policy, offload_policy=waiting)
    if not cuda:
        module.set_force_sum_reduction_for_comms(True)  # gloo has no mean


def _is_adapted(module: nn.Module) -> bool:
    return hasattr(module, "lora_A") and hasattr(module, "base_layer")


def _draw_adapter(layer: nn.Module, device: torch.device) -> None:
    """Draw A and set B to zero, the same numbers in every process and in `add_adapters`: peft draws on the CPU."""
    for name in layer.lora_A:
        A, B = layer.lora_A[name], layer.lora_B[name]
        drawn = nn.Linear(A.in_features, A.out_features, bias=False)
        nn.Linear(B.in_features, B.out_features, bias=False)  # peft makes it with numbers, too, before it zeroes them
        nn.init.kaiming_uniform_(drawn.weight, a=5**0.5)
        A.weight = nn.Parameter(drawn.weight.detach().to(device))
        B.weight = nn.Parameter(torch.zeros(B.weight.shape, device=device))


def _plain(module: nn.Module, parameter: nn.Parameter) -> nn.Parameter:
    """The parameter as a plain one, which can be cut; of a 4-bit weight the constants stay whole, at its module."""
    if (state := getattr(parameter, "quant_state", None)) is None:
        return parameter
    module.quant_state = state
    return nn.Parameter(parameter.data, requires_grad=False)


def is_sharded(model: nn.Module) -> bool:
    """Whether a model is in shards."""
    return any(hasattr(parameter, "to_local") for parameter in model.parameters())


class Parts:
    """What an optimizer sees of a model in shards: of each trained parameter the part that this process holds.

    They are parameters on the same memory. Plain tensors, so that any optimizer takes them, with one launch for all of
    them where it has one. `hand_out` gives them their gradients, and `forget` takes those back after the step.
    """

    def __init__(self, model: nn.Module):
        self.whole = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.parameters = [nn.Parameter(parameter.to_local().detach()) for parameter in self.whole]

    @torch.no_grad()  # or every part would begin a graph of its own
    def hand_out(self) -> list[torch.Tensor]:
        for part, parameter in zip(self.parameters, self.whole, strict=True):
            part.grad = None if parameter.grad is None else parameter.grad.to_local()
        return [part.grad for part in self.parameters if part.grad is not None]

    def forget(self) -> None:
        for part in self.parameters:
            part.grad = None

    def clip(self, most: float) -> torch.Tensor:
        """Hand out gradients, no longer than `most` as one vector over all processes; return how long it was."""
        from torch import distributed

        gradients = self.hand_out()
        # parts that wait on the host have their gradients there, and it is the GPUs that talk to each other
        squares = nn.utils.get_total_norm(gradients).square().to(self.whole[0].device_mesh.device_type)
        distributed.all_reduce(squares)
        length = squares.sqrt()
        nn.utils.clip_grads_with_norm_(self.parameters, most, length)
        return length


def gathered(model: nn.Module) -> dict[str, torch.Tensor]:
    """The adapters whole, by name, on the CPU, in the first process; {} in the others, which have to call this, too."""
    state = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            whole = parameter.detach().to(parameter.device_mesh.device_type).full_tensor()
            if rank() == 0:
                state[name] = whole.cpu()
    return state


@torch.no_grad()
def spread(model: nn.Module, folder: Path) -> None:
    """Give each process its part of the adapters that `save` wrote to a folder."""
    from torch.distributed.tensor import distribute_tensor

    try:
        with safe_open(Path(folder) / "adapter_model.safetensors", framework="pt") as stored:
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    whole = stored.get_tensor(name.replace(".default.weight", ".weight")).to(parameter.device)
                    parts = distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)
                    parameter.to_local().copy_(parts.to_local())
    except (SafetensorError, OSError, RuntimeError) as error:
        raise CourseError(f"The adapter in {Path(folder).name} is not of this model ({first_line(error)}).") from error

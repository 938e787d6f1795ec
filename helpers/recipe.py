"""One description of a QLoRA step, for those who take it and those who forecast it, and presets for small GPUs."""

from dataclasses import dataclass, replace

from .errors import CourseError

__all__ = ["IN_SHARDS", "OPTIMIZERS", "PRESETS", "Recipe", "preset"]

# transformers' names; "auto" is AdamW with states in 8 bits, paged, where there is a GPU
IN_SHARDS = "adamw_torch_fused"  # "auto" on several GPUs that share a model: states are divided, so 8 bits gain little
OPTIMIZERS = ("auto", "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "sgd")


@dataclass(frozen=True)
class Recipe:
    """Every setting of a run: `steps` optimizer steps of `batch` sequences, at most `length` tokens each.

    What decides the result comes first; from `checkpointing` on, levers that change what a step costs and not, but
    for rounding, what it computes (`helpers.levers` says how each works). `upcast` is the habit of peft's
    `prepare_model_for_kbit_training`. `optimizer` "auto" is AdamW, in 8 bits and paged on a GPU, and `IN_SHARDS` where
    several share a model. `target_modules` is
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
    one_tensor: bool = False

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

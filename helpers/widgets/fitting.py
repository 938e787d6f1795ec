"""Will it fit? Shapes of well-known models, a table of GPU sizes, and a panel to turn the knobs."""

import ipywidgets as widgets

from .. import memory, models, results
from ..errors import CourseError

__all__ = ["SHAPES", "answer", "panel", "shape"]

# One decoder's sizes as config.json on the Hugging Face hub has them: (transformers' name, sizes)
SHAPES = {
    "Llama-3.2-1B": ("Llama", dict(
        vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, head_dim=64, max_position_embeddings=131072, tie_word_embeddings=True)),
    "Gemma-2B": ("Gemma", dict(
        vocab_size=256000, hidden_size=2048, intermediate_size=16384, num_hidden_layers=18, num_attention_heads=8,
        num_key_value_heads=1, head_dim=256, max_position_embeddings=8192)),
    "Qwen2.5-3B": ("Qwen2", dict(
        vocab_size=151936, hidden_size=2048, intermediate_size=11008, num_hidden_layers=36, num_attention_heads=16,
        num_key_value_heads=2, max_position_embeddings=32768, tie_word_embeddings=True)),
    "Llama-3.1-8B": ("Llama", dict(
        vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, max_position_embeddings=131072)),
    "Llama-2-13B": ("Llama", dict(
        vocab_size=32000, hidden_size=5120, intermediate_size=13824, num_hidden_layers=40, num_attention_heads=40,
        max_position_embeddings=4096)),
    "Llama-3.1-70B": ("Llama", dict(
        vocab_size=128256, hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64,
        num_key_value_heads=8, head_dim=128, max_position_embeddings=131072)),
}  # fmt: skip
NAMES = ("Mistral-7B", *SHAPES)


def shape(name: str):
    """The configuration of a model of `NAMES`, without a download."""
    import transformers

    if name == "Mistral-7B":
        return models.mistral_7b_config()
    if name not in SHAPES:
        raise CourseError(f"Unknown model {name!r}: choose one of {', '.join(NAMES)}, or forecast its config yourself.")
    kind, sizes = SHAPES[name]
    return getattr(transformers, f"{kind}Config")(**sizes)


def answer(model: str, scheme: str, stage: str, length: int, batch: int, gpu_gb: int) -> str:
    """One sentence: whether a model does its work on a GPU of `gpu_gb`, and if not, or beyond, how much it could."""
    budget = memory.predict(shape(model), scheme, stage=stage, context=length, batch=batch)
    (row,) = memory.fitting(budget, (gpu_gb,))
    need = f"{model} in {scheme}, {stage} of {batch} × {length:,} tokens, takes {budget.gb:.2f} GB"
    most = f"at most {row['largest_batch']:,} × {length:,} or 1 × {row['longest']:,}"
    if row["fits"]:
        return f"{need} and fits in {gpu_gb} GB; {most}."
    return f"{need} and does not fit in {gpu_gb} GB; " + (f"{most}." if row["longest"] else "no length would.")


def panel(length: int = 1024) -> widgets.Widget:
    """Menus for model, scheme, stage, length, batch and GPU, with the budget below them."""
    controls = {
        "model": widgets.Dropdown(options=NAMES, description="model"),
        "scheme": widgets.Dropdown(options=memory.SCHEMES, value="nf4-dq", description="scheme"),
        "stage": widgets.Dropdown(options=("prefill", "train"), description="stage"),
        "length": widgets.Dropdown(
            options=sorted({128, 512, 1024, 2048, 4096, 8192, length}), value=length, description="length"
        ),
        "batch": widgets.Dropdown(options=(1, 2, 4, 8, 16, 32), description="batch"),
        "gpu_gb": widgets.Dropdown(options=memory.GPU_SIZES, value=8, description="GPU, GB"),
    }

    def show(**chosen) -> None:
        results.show(answer(**chosen))

    text = widgets.interactive_output(show, controls)
    row = widgets.HBox(list(controls.values()), layout=widgets.Layout(flex_flow="row wrap"))
    return widgets.VBox([row, text])

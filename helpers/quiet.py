"""Silence what libraries say that is no news to a learner; everything else still shows.

Imported by `helpers/__init__.py`, so that the notices are dropped whichever module of the course comes first.
"""

import contextlib
import logging
import warnings

__all__ = ["NOTICES", "libraries", "loading"]

# Logger → text. One line per layer and call (LLM.int8), or about an optional package.
NOTICES = {
    "bitsandbytes.autograd._functions": "inputs will be cast from",
    "bitsandbytes.backends.cpu.ops": "Failed to load CPU gemm_4bit_forward from kernels-community",
}
# peft asks for a property that transformers 5.23 has renamed; nothing that a learner could change.
DEPRECATED = "`is_gradient_checkpointing` is deprecated"


class _Drop(logging.Filter):
    """Drops the records of one logger that contain one known, harmless text."""

    def __init__(self, text: str):
        super().__init__()
        self.text = text

    def filter(self, record: logging.LogRecord) -> bool:
        return self.text not in record.getMessage()


def _install() -> None:
    for name, text in NOTICES.items():
        if not any(isinstance(f, _Drop) for f in logging.getLogger(name).filters):
            logging.getLogger(name).addFilter(_Drop(text))
    warnings.filterwarnings("ignore", message=DEPRECATED, category=FutureWarning)


@contextlib.contextmanager
def loading():
    """Hide transformers' progress bars and its report of odd weights, which we put into one sentence; no other log."""
    from transformers import modeling_gguf_pytorch_utils as gguf_reader
    from transformers.utils import logging as transformers_logging

    report = _Drop("LOAD REPORT")
    bar, gguf_reader.tqdm = gguf_reader.tqdm, lambda items, **_: items  # it has a bar of its own
    logger = logging.getLogger("transformers.modeling_utils")
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    logger.addFilter(report)
    try:
        yield
    finally:
        gguf_reader.tqdm = bar
        logger.removeFilter(report)
        if shown:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def libraries():
    """Hide every notice and warning below an error: for a model that is built to be counted and never used."""
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)


_install()

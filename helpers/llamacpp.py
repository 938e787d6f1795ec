"""Run a GGUF file in llama.cpp, within this process, and ask it what it thinks: for notebook 14.

The package `xllamacpp` holds llama.cpp as a server. It listens on this machine alone, on a port that the system picks,
for as long as the program is open.
"""

import contextlib
import importlib.util
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from .errors import CourseError
from .quality import Perplexity

__all__ = ["COMMAND", "Program", "missing", "running"]

COMMAND = "make llamacpp"


def missing() -> str | None:
    """Why llama.cpp cannot be run here, as one sentence, or None if it can."""
    if importlib.util.find_spec("xllamacpp") is None:
        return f"The package xllamacpp is not installed: run `{COMMAND}` (or `pip install xllamacpp`), 34 MB."
    return None


class Program:
    """A model in llama.cpp. Use `running`, which also ends it."""

    def __init__(self, server, path: Path):
        self._server, self.path = server, path

    def close(self) -> None:
        """End llama.cpp and give its port back; the program answers nothing any more."""
        with _silence():
            self._server = None

    def _post(self, what: str, body: dict) -> dict:
        request = urllib.request.Request(
            f"{self._server.listening_address}/{what}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as answer:
                return json.load(answer)
        except urllib.error.URLError as error:
            raise CourseError(f"llama.cpp did not answer ({error.reason}): run the notebook again.") from error

    def tokens(self, text: str) -> list[int]:
        """The ids into which llama.cpp cuts a text, with the one that begins it and special ones read as such."""
        return self._post("tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]

    def chat(self, question: str) -> str:
        """A question in the chat template that the file holds; what begins a text is added when it is tokenized."""
        return self._post("apply-template", {"messages": [{"role": "user", "content": question}]})["prompt"]

    def _complete(self, prompt: str | Sequence[int], count: int, **more) -> dict:
        body = {"prompt": prompt if isinstance(prompt, str) else list(prompt), "n_predict": count, "temperature": 0}
        found = self._server.handle_completions({**body, "n_probs": 1, "cache_prompt": True, **more})
        if "choices" not in found:
            raise CourseError(f"llama.cpp refused the prompt: {json.dumps(found)[:200]}")
        return found

    def write(self, prompt: str | Sequence[int], count: int, ignore_eos: bool = False) -> tuple[list[int], str, float]:
        """Greedy: the next ids, at most `count`, their text, and tokens per second of writing.

        It stops at a token that ends a text, which is then the last of the ids, unless `ignore_eos`.
        """
        found = self._complete(prompt, count, ignore_eos=ignore_eos)
        choice = found["choices"][0]
        ids = [token["id"] for token in (choice.get("logprobs") or {}).get("content", [])]
        return ids, choice["text"], found["timings"]["predicted_per_second"]

    def token_nats(self, ids: Sequence[int], first: int = 1) -> np.ndarray:
        """−log p of each token of `ids` from index `first` on, given all before it, in nats.

        llama.cpp tells the probability of a token that it writes. So each one is made to be written, by a bias that
        nothing can beat; what is told is its probability without the bias.
        """
        nats = []
        for place in range(first, len(ids)):
            told = self._told(ids[:place], 1, logit_bias=[[ids[place], 1e4]])
            if not told:  # tokens without a text are not told: forbid it, and look for it among all others
                told = self._told(ids[:place], 1_000_000, logit_bias=[[ids[place], -1e4]])
                told = [token for token in told[0]["top_logprobs"] if token["id"] == ids[place]] if told else []
            if not told or told[0]["id"] != ids[place]:
                raise CourseError(f"llama.cpp did not say how likely token {ids[place]} is.")
            nats.append(-told[0]["logprob"])
        return np.array(nats)

    def _told(self, ids: Sequence[int], probabilities: int, **more) -> list[dict]:
        """What llama.cpp says of the one token that it writes after `ids`; nothing if that ends the text."""
        found = self._complete(ids, 1, n_probs=probabilities, **more)
        return (found["choices"][0].get("logprobs") or {}).get("content") or []

    def perplexity(self, encoded: Sequence[Sequence[int]], first: Sequence[int] | None = None) -> Perplexity:
        """Perplexity of texts given as token ids, each within the context; of each from index `first` on, or all."""
        first = [1] * len(encoded) if first is None else first
        nats = [self.token_nats(ids, begin).sum() for ids, begin in zip(encoded, first, strict=True)]
        tokens = [len(ids) - begin for ids, begin in zip(encoded, first, strict=True)]
        return Perplexity(np.array(nats), np.array(tokens))


@contextlib.contextmanager
def running(path: str | Path, exact: bool = False, context: int = 512) -> Iterator[Program]:
    """Open a GGUF file in llama.cpp, on the CPU, for texts of up to `context` tokens; it is closed at the end.

    `exact` computes attention and its cache in float32, as transformers does in float32: by default llama.cpp keeps
    the cache in 16 bits. Raises CourseError where xllamacpp is missing and for a file that it cannot load.
    """
    if reason := missing():
        raise CourseError(reason)
    import xllamacpp

    path = Path(path)
    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_ctx, settings.n_parallel, settings.n_gpu_layers = context, 1, 0
    settings.warmup, settings.verbosity = False, 0
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = torch.get_num_threads()
    if exact:
        settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    try:
        with _silence():
            program = Program(xllamacpp.Server(settings), path)
    except RuntimeError as error:
        raise CourseError(f"llama.cpp cannot load {path.name}: is it a whole GGUF file of a kind it knows?") from error
    try:
        # ended before its first answer, llama.cpp may wait forever: the order to stop comes before its loop has begun
        program.write([1], 1)
        yield program
    finally:
        program.close()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep what C++ prints out of the notebook."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)

"""Generate fast: a cache of fixed size, a step that a GPU replays, and few launches in it. For notebooks 06 and 11.

`generate` is the one line to use. It writes what `model.generate` writes, greedily or sampled, for one prompt or
several; what cannot be captured runs step by step, and what does not fit a cache of fixed size by `model.generate`.
"""

import contextlib
import copy
import weakref
from collections.abc import Callable, Sequence

import torch
from torch import nn

from .errors import CourseError
from .kernels import step as steps
from .kernels.switch import using

__all__ = ["StaticDecoder", "forget", "generate", "kept"]

ROUND_TO = 64  # a cache's length is rounded up to this: attention kernels want aligned rows of the mask
ROOM = 512  # positions of the smallest cache that `generate` makes, so that the next, longer prompt fits, too


def kept(scores: torch.Tensor, top_k: torch.Tensor | int, top_p: torch.Tensor | float) -> tuple[torch.Tensor, ...]:
    """Scores (batch, vocabulary) from high to low, and the ids they belong to; what must not be drawn is −inf.

    The `top_k` highest stay (all, if it is 0), and of these the fewest whose probabilities add up to `top_p`; the
    highest always stays. As transformers does it: top_k first, then top_p on what is left.
    """
    ordered, ids = scores.sort(descending=True)
    rank = torch.arange(ordered.shape[-1], device=scores.device)
    top_k = torch.as_tensor(top_k, device=scores.device)
    ordered = ordered.masked_fill((rank >= top_k) & (top_k > 0), float("-inf"))
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities
    top_p = torch.as_tensor(top_p, device=scores.device)  # at 1 rounding must not take the last ones away
    return ordered.masked_fill((before >= top_p) & (top_p < 1) & (rank > 0), float("-inf")), ids


class StaticDecoder:
    """Decoding with a static cache: a step works on tensors that keep their places, so a GPU can replay it.

    `prefill()` starts anew; then `step()` makes one token from Python, kernel by kernel, and `replay()` does the same
    from a CUDA graph that `capture()` recorded, with a single launch. `tokens` holds prompt and answer, shape
    (batch, length). Attention always runs over the whole cache, `cache_length` positions, the unused ones masked.

    With `fused`, steps are `kernels.step.Step`. With `sampled`, tokens are drawn by `temperature`, `top_k` and `top_p`,
    which are tensors and can be set before every prefill; without it the likeliest is taken.
    """

    def __init__(self, model: nn.Module, prompt: torch.Tensor, new_tokens: int, fused: bool = False, sampled=False):
        from transformers import StaticCache

        length = prompt.shape[1] + new_tokens
        window = getattr(model.config, "sliding_window", None)
        if window and length > window:
            raise CourseError(
                f"{length} tokens are more than the sliding window of {window}: "
                "use a shorter prompt or fewer new tokens."
            )
        # the window is not reached, and a cache with one counts in Python, which a graph cannot replay
        config = copy.deepcopy(model.config)
        config.sliding_window = None
        if getattr(config, "layer_types", None):
            config.layer_types = ["full_attention"] * len(config.layer_types)
        self.model, self.graph, self.fused, self.sampled, self.fused_step = model, None, fused, sampled, None
        self.cache_length = -(-length // ROUND_TO) * ROUND_TO
        self.cache = StaticCache(config=config, max_cache_len=self.cache_length)
        device, batch = prompt.device, prompt.shape[0]
        self.places = torch.arange(self.cache_length, device=device)
        self.position = torch.zeros(1, dtype=torch.long, device=device)  # of the newest token, not yet in the cache
        self.newest = torch.zeros(batch, 1, dtype=torch.long, device=device)
        self.tokens = torch.zeros(batch, self.cache_length, dtype=torch.long, device=device)
        self.padding = torch.zeros(batch, dtype=torch.long, device=device)  # positions at the left of each row's text
        self.temperature = torch.ones(1, device=device)
        self.top_k, self.top_p = torch.zeros(1, dtype=torch.long, device=device), torch.ones(1, device=device)
        self.random = torch.Generator(device)
        self.prompt = prompt

    def logits(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """By transformers: logits (batch, vocabulary) after ids (batch, new), which stand at `positions` (new,)."""
        places = positions - self.padding[:, None]
        mask = (self.places <= positions[:, None]) & (self.places >= self.padding[:, None, None])
        mask |= self.places == positions[:, None]  # padding sees itself: a row of nothing would have no softmax
        return self.model(
            input_ids=ids,
            position_ids=places.clamp(min=0),
            attention_mask=mask[:, None],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]

    def chosen(self, logits: torch.Tensor) -> torch.Tensor:
        """The next token of each row, shape (batch, 1)."""
        if not self.sampled:
            return logits.argmax(dim=-1, keepdim=True)
        scores, ids = kept(logits.float() / self.temperature, self.top_k, self.top_p)
        # the largest of p / e, with e exponential, is drawn with probability p; so is that of log p − log e
        noise = torch.empty_like(scores).exponential_(generator=self.random).log()
        return ids.gather(-1, (scores - noise).argmax(-1, keepdim=True))

    @torch.inference_mode()
    def prefill(self, prompt: torch.Tensor | None = None, padding: torch.Tensor | None = None) -> None:
        """Empty the cache, read the prompt, the first or another one of as many rows, and make the first token."""
        if prompt is not None:
            self.prompt = prompt
        self.padding.zero_()
        if padding is not None:
            self.padding.copy_(padding)
        length = self.prompt.shape[1]
        self.cache.reset()
        self.tokens.zero_()
        self.tokens[:, :length] = self.prompt
        with using(self.model) if self.fused else contextlib.nullcontext():
            logits = self.logits(self.prompt, self.places[:length])
        self.newest.copy_(self.chosen(logits))
        self.position.fill_(length)
        self.tokens[:, length] = self.newest[:, 0]
        if self.fused and self.fused_step is None:
            self.fused_step = steps.Step(self.model, self.cache, len(self.prompt))

    @torch.inference_mode()
    def step(self) -> None:
        """Make one more token, launched from Python."""
        if self.fused_step is not None:
            logits = self.fused_step(self.newest, self.position, self.padding)
        else:
            logits = self.logits(self.newest, self.position)
        self.newest.copy_(self.chosen(logits))
        self.position.add_(1)
        self.tokens.index_copy_(1, self.position, self.newest)

    @torch.inference_mode()
    def capture(self) -> None:
        """Record a step as a CUDA graph. Raises CourseError without a GPU and for LLM.int8."""
        if self.prompt.device.type != "cuda":
            raise CourseError('CUDA graphs need a CUDA GPU: take way="static", the same cache without a graph.')
        if any(type(module).__name__ == "Linear8bitLt" for module in self.model.modules()):
            raise CourseError(
                "LLM.int8 looks for outliers in its inputs from Python, so its steps cannot be recorded as a graph: "
                'time it with way="static".'
            )
        side = torch.cuda.Stream()  # recording wants warm kernels, made on a stream of their own
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self.prefill()
            for _ in range(2):
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        self.prefill()
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.random)
        with torch.cuda.graph(graph):
            self.step()
        self.graph = graph

    def replay(self) -> None:
        """Make one more token by replaying the recorded step."""
        self.graph.replay()


made: "weakref.WeakKeyDictionary[nn.Module, dict]" = weakref.WeakKeyDictionary()  # decoders of each model


def forget(model: nn.Module) -> None:
    """Give back the memory that `generate` keeps for a model: its cache and its captured step."""
    made.pop(model, None)


def state_of(model: nn.Module) -> int:
    """A number that changes when a captured step is out of date: other layers, weights elsewhere, another adapter."""
    seen = []
    for module in model.modules():
        seen += [type(module), *(parameter.data_ptr() for parameter in module.parameters(recurse=False))]
        if hasattr(module, "base_layer"):  # a layer with peft's adapters
            seen += [str(module.active_adapters), module.disable_adapters, str(module.merged_adapters)]
            seen += [str(module.scaling)]
    return hash(tuple(seen))


def can_capture(prompt: torch.Tensor) -> bool:
    """Whether there is anything to capture on: a CUDA GPU."""
    return prompt.is_cuda


def decoder_of(model: nn.Module, prompt: torch.Tensor, new_tokens: int, sampled: bool) -> StaticDecoder:
    """A decoder with room for a prompt and its answer: one that is there, or a new one, captured where that can be."""
    known, key, length = made.setdefault(model, {}), (prompt.shape[0], sampled), prompt.shape[1] + new_tokens + 1
    state = state_of(model)
    decoder, seen = known.get(key, (None, None))
    if decoder is None or seen != state or decoder.cache_length < length:
        known.pop(key, None)
        decoder = None  # its memory may be what the new one needs
        window = getattr(model.config, "sliding_window", None) or model.config.max_position_embeddings
        room = max(length, min(ROOM, window)) - prompt.shape[1]
        fused = steps.why_not_fused(model) is None and prompt.is_cuda
        decoder = StaticDecoder(model, prompt, room, fused=fused, sampled=sampled)
        try:
            if can_capture(prompt):
                decoder.capture()
        except (CourseError, RuntimeError):  # no room for it, or a model that does something in Python
            decoder.graph = None  # then step by step
        decoder.model = weakref.proxy(model)  # or its entry in `made` would keep the model alive
        known[key] = decoder, state_of(model)  # a fused step has moved weights
    return decoder


def tokens(
    model: nn.Module,
    prompt: torch.Tensor,
    max_new_tokens: int,
    ends: Sequence[int] = (),
    padding: torch.Tensor | None = None,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    seen: Callable[[list[int]], None] | None = None,
) -> list[list[int]]:
    """New ids of each row, up to its end id, which is not returned; `seen` is called with each step's ids."""
    decoder = decoder_of(model, prompt, max_new_tokens, temperature > 0)
    if temperature > 0:
        decoder.temperature.fill_(temperature)
        decoder.top_k.fill_(top_k)
        decoder.top_p.fill_(top_p)
        decoder.random.manual_seed(seed)
    decoder.prefill(prompt, padding)
    rows, open_rows, waiting = [[] for _ in prompt], set(range(len(prompt))), None
    advance = decoder.replay if decoder.graph else decoder.step
    on_host = torch.empty(2, len(prompt), dtype=torch.long, pin_memory=prompt.is_cuda)

    def take(slot, event):
        if event is not None:
            event.synchronize()
        ids = on_host[slot].tolist()
        for row in list(open_rows):
            if ids[row] in ends:
                open_rows.discard(row)
            else:
                rows[row].append(ids[row])
        if seen is not None:
            seen(ids)

    # the GPU is a step ahead: while it makes a token, Python reads the one before
    for i in range(max_new_tokens):
        if i:
            advance()
        on_host[i % 2].copy_(decoder.newest[:, 0], non_blocking=True)
        event = torch.cuda.Event() if prompt.is_cuda else None
        if event is not None:
            event.record()
        if waiting is not None:
            take(*waiting)
            if not open_rows:
                return rows
        waiting = i % 2, event
    take(*waiting)
    return rows


def generate(
    model: nn.Module,
    tokenizer,
    prompt: str | list[str],
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stream: Callable[[str], object] | None = None,
) -> str | list[str]:
    """Continue a prompt, or several of different lengths at once: the new text, without the prompt.

    At temperature 0 each token is the likeliest; above it, tokens are drawn from the `top_k` likeliest (0: all) that
    make up `top_p` of the probability, and `seed` decides which. `stream` gets the text of a single prompt piece by
    piece. The first call for a model takes longer: it captures a step, and `forget` gives the memory back. Raises
    CourseError for empty prompts, settings out of range, and more tokens than the model has positions for.
    """
    single = isinstance(prompt, str)
    texts = [prompt] if single else list(prompt)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise CourseError("There is nothing to continue: give a text, or several in a list, none of them empty.")
    if stream is not None and not single:
        raise CourseError("Only a single prompt can be streamed: give one text, or leave stream out.")
    if max_new_tokens < 1 or temperature < 0 or top_k < 0 or not 0 < top_p <= 1:
        raise CourseError(
            f"max_new_tokens={max_new_tokens}, temperature={temperature}, top_k={top_k}, top_p={top_p}: at least 1 "
            "token, a temperature and a top_k of 0 or more, and a top_p above 0 and up to 1."
        )
    encoded = [tokenizer(text).input_ids for text in texts]
    longest = max(map(len, encoded))
    if not min(map(len, encoded)):
        raise CourseError("A prompt has no tokens: this tokenizer makes nothing of it.")
    positions = model.config.max_position_embeddings
    if longest + max_new_tokens > positions:
        raise CourseError(
            f"{longest} prompt tokens and {max_new_tokens} new ones are more than the model's {positions} positions: "
            "use a shorter prompt or fewer new tokens."
        )
    end = model.generation_config.eos_token_id
    ends = tuple(end) if isinstance(end, (list, tuple)) else () if end is None else (end,)
    filler = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ends or (0,))[0]
    ids = torch.tensor([[filler] * (longest - len(row)) + row for row in encoded], device=model.device)
    padding = torch.tensor([longest - len(row) for row in encoded], device=model.device)
    window = getattr(model.config, "sliding_window", None)
    beyond = bool(window) and longest + max_new_tokens + 1 > window
    if beyond or len({parameter.device for parameter in model.parameters()}) > 1:
        new = _plainly(model, ids, padding, max_new_tokens, filler, temperature, top_k, top_p, seed)
        if stream is not None:
            stream(tokenizer.decode(new[0], skip_special_tokens=True))
    else:
        piece = Pieces(tokenizer, stream, ends) if stream is not None else None
        new = tokens(model, ids, max_new_tokens, ends, padding, temperature, top_k, top_p, seed, piece)
        if piece is not None:
            piece.flush()
    answers = [tokenizer.decode(row, skip_special_tokens=True) for row in new]
    return answers[0] if single else answers


class Pieces:
    """Called with the id of each step, it passes on what the text has grown by, whole characters only."""

    def __init__(self, tokenizer, stream: Callable[[str], object], ends: Sequence[int]):
        self.tokenizer, self.stream, self.ends = tokenizer, stream, ends
        self.ids, self.shown, self.over = [], "", False

    def __call__(self, ids: list[int]) -> None:
        self.over = self.over or ids[0] in self.ends
        if not self.over:
            self.ids.append(ids[0])
            text = self.tokenizer.decode(self.ids, skip_special_tokens=True)
            if not text.endswith("\ufffd"):  # the rest of a character is still to come
                self._show(text)

    def flush(self) -> None:
        """Pass on what is left, though it may be part of a character."""
        self._show(self.tokenizer.decode(self.ids, skip_special_tokens=True))

    def _show(self, text: str) -> None:
        if text != self.shown:
            self.stream(text[len(self.shown) :])
            self.shown = text


def _plainly(model, ids, padding, max_new_tokens, filler, temperature, top_k, top_p, seed) -> list[list[int]]:
    """The same by transformers: for texts beyond a sliding window, and models on several devices."""
    mask = (torch.arange(ids.shape[1], device=ids.device) >= padding[:, None]).long()
    drawn = {"do_sample": True, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    with torch.random.fork_rng(devices=[ids.device] if ids.is_cuda else []), torch.inference_mode():
        torch.manual_seed(seed)
        out = model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            pad_token_id=filler,
            **(drawn if temperature else {"do_sample": False}),
        )
    end = model.generation_config.eos_token_id
    ends = tuple(end) if isinstance(end, (list, tuple)) else (end,)
    rows = [row[ids.shape[1] :].tolist() for row in out]
    return [row[: next((i for i, one in enumerate(row) if one in ends), len(row))] for row in rows]

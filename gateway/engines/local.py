"""The in-process engine: any transformers causal LM, on torch, in a thread of its own.

Before it: a plan. It renders the prompt, checks that it can honour the plan, and hands a job to the
worker; deltas come back to the caller's event loop. Log-probabilities are those after the plan's
steering and before penalties and temperature. Penalties count generated tokens. `max_tokens` beyond
the context is cut to what fits. Choice i of a seeded call draws with seed + i.
"""

import asyncio
import math
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import astuple, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adapters.base import (
    Adapted,
    Call,
    Capability,
    Delta,
    Embedded,
    Embeds,
    EngineError,
    EngineRejected,
    EngineUnavailable,
    Plan,
    Prompt,
    Rules,
    Sampling,
    Say,
    Steered,
    TokenLogprob,
    Usage,
)
from adapters.decoder import Decoder, Reading
from adapters.prompt import Prompter
from adapters.weights import causal_lm
from gateway.engines.assistants import Assistants
from gateway.engines.job import Assistant, Job, Outcome, Words
from gateway.engines.text import pieces
from gateway.engines.worker import Worker


class LocalEngine:
    """Serves the model in `folder` under `name`.

    Args:
        folder: a model in transformers' format, with its tokenizer.
        name: as clients ask for it.
        max_batch: choices generated at once; more wait.
        max_waiting: calls that may wait; the next is refused at once.
        threads: of torch, for one step; by default two, or what leaves the event loop a core: a thread
            too many costs more than it gives, as they wait for each other by spinning.
        device: `"auto"` is the GPU where there is one.
        dtype: torch's name; `"auto"` is float32 on a CPU, the model's own elsewhere.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        max_batch: int = 16,
        max_waiting: int = 256,
        threads: int | None = None,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        self._folder = folder
        self._name = name
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._threads = threads or min(max((os.cpu_count() or 1) - 1, 1), 2)
        self._device = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        self._dtype = dtype if dtype != "auto" or self._device != "cpu" else "float32"
        self._served: _Served | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset(Capability) - {Capability.EMBED}

    @property
    def options(self) -> frozenset[str]:
        return frozenset()

    @property
    def running(self) -> int:
        """Choices being generated now."""
        return self._served.worker.running if self._served else 0

    @property
    def waiting(self) -> int:
        """Calls in the queue."""
        return self._served.worker.waiting if self._served else 0

    @property
    def steps(self) -> int:
        """Steps since the start: forward passes that gave every running choice a token."""
        return self._served.worker.steps if self._served else 0

    async def start(self) -> None:
        if self._served is None:
            self._served = await asyncio.to_thread(self._load)

    async def close(self) -> None:
        served, self._served = self._served, None
        if served is not None:
            await asyncio.to_thread(served.worker.close)

    async def health(self) -> None:
        if not self._ready().worker.alive:
            raise EngineUnavailable("the engine's thread has ended")

    async def rendered(self, call: Call) -> Call:
        return await asyncio.to_thread(self._ready().rendered, call)

    async def ready(self, plan: Plan) -> None: ...

    def lag(self, method: str) -> float:
        return 0.0

    def pieces(self, text: str) -> tuple[str, ...]:
        return self._ready().pieces(text)

    async def generate(self, call: Call, plan: Plan) -> AsyncIterator[Delta | Usage]:
        served = self._ready()
        async with aclosing(self._outcomes(served, partial(served.job, call, plan, None))) as outcomes:
            async for outcome in outcomes:
                assert isinstance(outcome, Delta | Usage)
                yield outcome

    async def score(self, call: Call, answer: str, plan: Plan) -> Sequence[TokenLogprob]:
        served = self._ready()
        async with aclosing(self._outcomes(served, partial(served.job, call, plan, answer))) as outcomes:
            async for outcome in outcomes:
                assert isinstance(outcome, tuple)
                return outcome
        raise AssertionError("a job without an outcome")

    async def prompt_logprobs(self, call: Call) -> Sequence[TokenLogprob]:
        served = self._ready()
        if call.prompt is None:
            call = await self.rendered(call)
        assert call.prompt is not None
        first, *others = call.prompt.token_ids
        opening = TokenLogprob(served.worker.words.piece(first), math.nan)
        if not others:
            return (opening,)
        async with aclosing(self._outcomes(served, partial(served.weighing, call))) as outcomes:
            async for outcome in outcomes:
                assert isinstance(outcome, tuple)
                return (opening, *outcome)
        raise AssertionError("a job without an outcome")

    async def embed(self, texts: Sequence[str], options: Mapping[str, Any]) -> Embedded:
        raise EngineRejected("this engine gives no embeddings", "model")

    async def _outcomes(
        self, served: "_Served", job_of: Callable[[Callable[[Outcome], object]], Job]
    ) -> AsyncGenerator[Outcome, None]:
        """What the worker delivers for one call, until it is over; closing it gives the call up."""
        inbox: asyncio.Queue[Outcome] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(outcome: Outcome) -> None:
            loop.call_soon_threadsafe(inbox.put_nowait, outcome)

        job = await asyncio.to_thread(job_of, deliver)
        served.worker.submit(job)
        try:
            while True:
                outcome = await inbox.get()
                if isinstance(outcome, EngineError):
                    raise outcome
                yield outcome
                if not isinstance(outcome, Delta):
                    return
        finally:
            job.over = True

    def _ready(self) -> "_Served":
        if self._served is None:
            raise EngineUnavailable("the engine is not started")
        return self._served

    def _load(self) -> "_Served":
        try:
            prompter = Prompter(self._folder)
            model = causal_lm(self._folder, self._dtype).to(self._device)
            decoder = Decoder(model)
            _rehearse(decoder)
            ends, rules = _ends(model, prompter), _own_rules(model)
        except Exception as error:
            raise EngineUnavailable(f"the model in {self._folder.name} cannot be served") from error
        words = Words(prompter.decode, prompter.piece, tuple(ends))
        assistants = Assistants(model)
        worker = Worker(decoder, assistants, words, self._max_batch, self._max_waiting, self._threads)
        context = min(model.config.get_text_config().max_position_embeddings, prompter.limit)
        return _Served(prompter, decoder, assistants, worker, context, rules)


class _Served:
    """A loaded model: turns a call and its plan into a job for the worker, or refuses."""

    def __init__(
        self,
        prompter: Prompter,
        decoder: Decoder,
        assistants: Assistants,
        worker: Worker,
        context: int,
        rules: Rules,
    ) -> None:
        self._prompter = prompter
        self._decoder = decoder
        self._assistants = assistants
        self._context = context
        self._rules = rules
        self.worker = worker

    def pieces(self, text: str) -> tuple[str, ...]:
        """A text as its deltas would be."""
        return pieces(self._prompter.encode(text), self._prompter.decode)

    def rendered(self, call: Call) -> Call:
        """The call with its prompt.

        Raises:
            EngineRejected: there is none, or it leaves no room for an answer.
        """
        return replace(call, prompt=self._prompt(call))

    def _prompt(self, call: Call) -> Prompt:
        prompt = self._prompter.render(call)
        if len(prompt.token_ids) >= self._context:
            param = "prompt" if call.raw else "messages"
            raise EngineRejected(f"the prompt is longer than the model's context of {self._context} tokens", param)
        return prompt

    def job(self, call: Call, plan: Plan, answer: str | None, deliver: Callable[[Outcome], object]) -> Job:
        """What the worker is to do: generate, or score the answer where there is one.

        Raises:
            EngineRejected: the prompt, the sampling or the plan cannot be honoured.
            EngineError: an assistant of the plan cannot be loaded.
        """
        sampling = call.sampling
        self._check(sampling)
        prompt = call.prompt or self._prompt(call)
        room = self._context - len(prompt.token_ids)
        scored = None if answer is None else self._ended(answer)
        if scored is not None and len(scored) > room:
            raise EngineRejected(f"the answer does not fit the model's context of {self._context} tokens", "answer")
        limit = min(sampling.max_tokens or room, room) if scored is None else len(scored)
        reading, forced = Reading(prompt.token_ids), None
        assistants: tuple[Assistant, ...] = ()
        match plan:
            case Embeds():
                reading = replace(reading, embeds=self._embeds(plan, prompt))
            case Steered():
                assistants = self._steering(plan)
            case Adapted():
                reading = replace(reading, lora=self._decoder.loras.together(plan.loras))
            case Say():
                forced = self._ended(plan.text)
                if sampling.logprobs is not None or scored is not None:  # these are of the prompt it is natural to
                    reading = Reading(self._instead(plan, call, limit if scored else min(limit, len(forced))))
        if scored is not None:
            reading = replace(reading, token_ids=reading.token_ids + scored[:-1])
        rules = sampling.rules(self._rules if sampling.logprobs is None else Rules())  # see `bodies.NEUTRAL`
        return Job(reading, sampling, rules, deliver, len(prompt.token_ids), limit, forced, assistants, scored)

    def weighing(self, call: Call, deliver: Callable[[Outcome], object]) -> Job:
        """What the worker is to do: score the prompt's own tokens, all but the first."""
        ids = (call.prompt or self._prompt(call)).token_ids
        return Job(Reading(ids[:-1]), call.sampling, Rules(), deliver, len(ids), len(ids) - 1, answer=ids[1:])

    def _check(self, sampling: Sampling) -> None:
        if not 1 <= sampling.n <= self.worker.max_batch:
            raise EngineRejected(f"n must be between 1 and {self.worker.max_batch}", "n")
        if sampling.max_tokens is not None and sampling.max_tokens < 1:
            raise EngineRejected("max_tokens must be at least 1", "max_tokens")
        if "" in sampling.stop:
            raise EngineRejected("stop must not be empty", "stop")

    def _ended(self, answer: str) -> tuple[int, ...]:
        return (*self._prompter.encode(answer), self.worker.words.eos)

    def _embeds(self, plan: Embeds, prompt: Prompt) -> Tensor:
        shape = (len(prompt.token_ids), self._decoder.width)
        if plan.token_ids != prompt.token_ids or plan.embeds.shape != shape:
            raise EngineRejected("the embeddings are not of this prompt and model")
        if not np.isfinite(plan.embeds).all():
            raise EngineRejected("the embeddings are not finite")
        return torch.tensor(plan.embeds)

    def _steering(self, plan: Steered) -> tuple[Assistant, ...]:
        if not plan.assistants:
            raise EngineRejected("a steered plan needs an assistant")
        try:
            return self._assistants.load(plan)
        except Exception as error:  # whatever is wrong with the files: not the client's doing
            raise EngineError("an assistant cannot be loaded") from error

    def _instead(self, plan: Say, call: Call, room: int) -> tuple[int, ...]:
        """The prompt to which the text is natural; its end only, where all of it would leave no room."""
        try:
            prompt = self._prompter.render(Call(plan.instead, raw=call.raw))
        except EngineRejected:  # not the client's doing, and not for the client to see
            raise EngineError("the plan's own prompt cannot be rendered") from None
        return prompt.token_ids[room - self._context :]


def _ends(model: Any, prompter: Prompter) -> list[int]:
    """The tokens that end an answer, the tokenizer's own first."""
    ends = model.generation_config.eos_token_id
    found = [prompter.eos_id, *(ends if isinstance(ends, list) else [ends])]
    ends = [token for token in found if token is not None]
    if not ends:
        raise ValueError("this model names no token that ends an answer")
    return ends


def _own_rules(model: Any) -> Rules:
    """Its own, for what a client leaves open. As in vLLM, `do_sample` is not looked at.

    Raises:
        ValueError: they make no sense.
    """
    told = model.generation_config.to_diff_dict()
    own = Rules(**{rule.name: told[rule.name] for rule in fields(Rules) if told.get(rule.name) is not None})
    known = all(isinstance(value, int | float) for value in astuple(own)) and isinstance(own.top_k, int)
    if not (known and own.temperature >= 0 and 0 < own.top_p <= 1 and own.min_p <= 1 and own.repetition_penalty > 0):
        raise ValueError("the model's generation_config.json has rules that make no sense")
    return own


def _rehearse(decoder: Decoder) -> None:
    """Reads rows of two lengths and steps once, so that a model of another kind fails at the start."""
    from transformers.cache_utils import DynamicLayer

    cache, logits = decoder.read([Reading((0,)), Reading((0, 0))])
    logits = decoder.step(cache, [0, 0])
    if not all(type(layer) is DynamicLayer for layer in cache.past.layers) or not logits.isfinite().all():
        raise ValueError("this architecture cannot be batched")

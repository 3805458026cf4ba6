"""Any OpenAI-compatible server as an engine, one or several replicas of it: text, and nothing more.

The body is rebuilt from `Sampling`; nothing of the client's own passes. What a plan says is said
here, without the upstream, at the pace at which the upstream has lately answered, so that the clock
does not tell. Tokens are the upstream's to count; where it does not, and for what is said here, the
usage is an estimate by words. Log-probabilities are refused, to all alike: what is said here has none.
There is no tokenizer: whether a content forges the template's own tokens is for the upstream to ask.
Deltas carry no `wire`: what is said here has none, and the two must look alike.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any

import orjson

from adapters.base import (
    Call,
    Capability,
    Delta,
    Embedded,
    EngineError,
    EngineRejected,
    EngineUnavailable,
    Plan,
    Rules,
    Sampling,
    Say,
    TokenLogprob,
    Usage,
)
from gateway.engines.events import events
from gateway.engines.fleet import CircuitEvent, Fleet
from gateway.engines.words import recite, usage, words

_NEEDS = frozenset({Capability.TEXT})
_NOT_THERE = (404, 405)  # of servers without the endpoint
_EMBEDDING_FIELDS = {"input", "dimensions", "encoding_format"}
_RULES = asdict(Rules())
_OPENAI = {"temperature", "top_p", "presence_penalty", "frequency_penalty"}  # not every server knows the others
_FIELDS = {"messages", "prompt", "n", "stop", "max_tokens", "seed", *_RULES}


class UpstreamEngine:
    """Forwards to `model` at any of `urls` (each up to and including `/v1`), and answers to `name`.

    Args:
        timeout: seconds the upstream may be silent. A connection has five at most.
        event: see `Fleet`.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        *,
        name: str | None = None,
        api_key: str | None = None,
        timeout: float = 120.0,
        event: Callable[[CircuitEvent], None] = lambda name: None,
    ) -> None:
        self._model = model
        self._name = name or model
        self._fleet = Fleet(urls, api_key=api_key, timeout=timeout, event=event)
        self._pace = _Pace()

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> frozenset[Capability]:
        return _NEEDS | {Capability.EMBED}  # whether the model does, it says when it is asked

    @property
    def options(self) -> frozenset[str]:
        return frozenset()

    async def rendered(self, call: Call) -> Call:
        return call

    async def start(self) -> None:
        """Nothing to wait for: an upstream may come later, and `health` says whether it is there."""
        await self._fleet.start()

    async def close(self) -> None:
        await self._fleet.close()

    async def health(self) -> None:
        await self._fleet.health()

    async def ready(self, plan: Plan) -> None: ...

    def lag(self, method: str) -> float:
        return 0.0

    def pieces(self, text: str) -> tuple[str, ...]:
        return (*words(text), "")

    async def generate(self, call: Call, plan: Plan) -> AsyncIterator[Delta | Usage]:
        if not plan.needs <= _NEEDS:
            raise EngineRejected("this engine cannot honour the plan")
        if call.sampling.logprobs is not None:
            raise EngineRejected("this engine gives no log-probabilities", "logprobs")
        turns = call.conversation.turns
        if not call.raw and turns and turns[-1].role == "assistant":
            raise EngineRejected("the last message is the assistant's: an answer cannot be prefilled", "messages")
        source = self._say(plan, call.sampling) if isinstance(plan, Say) else self._forward(call)
        texts: list[str] = []
        counted = None
        async with aclosing(source) as items:
            async for item in items:
                if isinstance(item, Usage):
                    counted = item
                else:
                    texts.append(item.text)
                    yield item
        yield counted or usage([turn.text for turn in turns], texts)

    async def score(self, call: Call, answer: str, plan: Plan) -> Sequence[TokenLogprob]:
        raise EngineRejected("this engine cannot score")

    async def prompt_logprobs(self, call: Call) -> Sequence[TokenLogprob]:
        raise EngineRejected("this engine gives no log-probabilities", "logprobs")

    async def embed(self, texts: Sequence[str], options: Mapping[str, Any]) -> Embedded:
        body = {"model": self._model, "input": list(texts), **options}
        async with self._fleet.stream("embeddings", orjson.dumps(body)) as reply:
            if reply.status in _NOT_THERE:
                raise EngineRejected("this model gives no embeddings", "model")
            if not reply.ok:
                raise await reply.refusal(_EMBEDDING_FIELDS)
            return _vectors(await reply.read(), len(texts))

    async def _say(self, plan: Say, sampling: Sampling) -> AsyncGenerator[Delta | Usage, None]:
        wait = self._pace.first
        for delta in recite([plan.text] * sampling.n, sampling):
            await asyncio.sleep(wait)
            yield delta
            wait = self._pace.between

    async def _forward(self, call: Call) -> AsyncGenerator[Delta | Usage, None]:
        writing = set(range(call.sampling.n))
        path = "completions" if call.raw else "chat/completions"
        before, first = monotonic(), True
        async with self._fleet.stream(path, orjson.dumps(_body(self._model, call))) as reply:
            if not reply.ok:
                raise await reply.refusal(_FIELDS)
            async with aclosing(events(reply.chunks())) as stream:
                async for _, data in stream:
                    if data.strip() == b"[DONE]":
                        break
                    for item in _items(data, writing) if data else ():
                        if isinstance(item, Delta):
                            self._pace.saw(monotonic() - before, first)
                            before, first = monotonic(), False
                        yield item
            await reply.finish()
        if writing:
            raise EngineUnavailable("the upstream broke off its answer")


def _vectors(answer: bytes, count: int) -> Embedded:
    """The `count` vectors of an answer, in the order of the texts."""
    try:
        given = orjson.loads(answer)
        by_text = {int(one["index"]): one["embedding"] for one in given["data"]}
        return Embedded(tuple(by_text[i] for i in range(count)), int(given["usage"]["prompt_tokens"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EngineError("the upstream's answer cannot be read") from None


@dataclass(slots=True)
class _Pace:
    """How long the upstream lately took to the first delta and between two, in seconds."""

    first: float = 0.0
    between: float = 0.0

    def saw(self, seconds: float, first: bool) -> None:
        old = self.first if first else self.between
        new = old + (seconds - old) / 8 if old else seconds
        if first:
            self.first = new
        else:
            self.between = new


def _body(model: str, call: Call) -> dict[str, Any]:
    """The request, made anew from what we understand."""
    sampling = call.sampling
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": sampling.n,
        **{name: value for name, value in sampling.said.items() if name in _OPENAI or value != _RULES[name]},
    }
    if call.raw:
        body["prompt"] = "".join(turn.text for turn in call.conversation.turns)
    else:
        body["messages"] = [
            {**(turn.message or {}), "role": turn.role, "content": turn.content} for turn in call.conversation.turns
        ]
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    asked = {"max_tokens": sampling.max_tokens, "seed": sampling.seed}
    return body | {name: value for name, value in asked.items() if value is not None}


def _items(data: bytes, writing: set[int]) -> list[Delta | Usage]:
    """What one event says. Choices that end are taken from `writing`; what comes after their end is dropped."""
    try:
        event = orjson.loads(data)
        if not event.get("error"):
            return list(_said(event, writing))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EngineError("the upstream's answer cannot be read") from None
    raise EngineUnavailable("the upstream failed in the middle of its answer")


def _said(event: Any, writing: set[int]) -> Iterator[Delta | Usage]:
    for choice in event.get("choices") or ():
        index, finish = int(choice.get("index", 0)), choice.get("finish_reason")
        text = choice["text"] if "text" in choice else (choice.get("delta") or {}).get("content")
        if not isinstance(text, str | None):
            raise TypeError("text")
        if index in writing and (text or finish):
            if finish:
                writing.discard(index)
            yield Delta(index, text or "", finish=("length" if finish == "length" else "stop") if finish else None)
    if counted := event.get("usage"):
        yield Usage(int(counted["prompt_tokens"]), int(counted.get("completion_tokens") or 0))

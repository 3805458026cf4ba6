"""Any OpenAI-compatible server as an engine, over one pooled httpx client: text, and nothing more.

The body is rebuilt from `Sampling`; nothing of the client's own passes. What a plan says is said
here, without the upstream, at the pace at which the upstream has lately answered, so that the clock
does not tell. Tokens are the upstream's to count; where it does not, and for what is said here, the
usage is an estimate by words. Log-probabilities are refused, to all alike: what is said here has none.
There is no tokenizer: whether a content forges the template's own tokens is for the upstream to ask.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import httpx

from adapters.base import (
    Call,
    Capability,
    Delta,
    EngineError,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
    Plan,
    Sampling,
    Say,
    TokenLogprob,
    Usage,
)
from gateway.engines.words import recite, usage

_NEEDS = frozenset({Capability.TEXT})
_PLAIN = Sampling()
# Sent only where they differ from the default: the first are OpenAI's own, the last a courtesy of many servers.
_OPTIONAL = ("max_tokens", "seed", "presence_penalty", "frequency_penalty", "top_k", "min_p", "repetition_penalty")
_FIELDS = {"messages", "prompt", "n", "stop", "temperature", "top_p", *_OPTIONAL}


class UpstreamEngine:
    """Forwards to `model` at `base_url` (up to and including `/v1`), and answers to `name`.

    Args:
        timeout: seconds the upstream may be silent. A connection has five at most.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        name: str | None = None,
        api_key: str | None = None,
        timeout: float = 120.0,
    ) -> None:
        self._model = model
        self._name = name or model
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        )
        self._pace = _Pace()

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> frozenset[Capability]:
        return _NEEDS

    async def start(self) -> None:
        """Nothing to wait for: an upstream may come later, and `health` says whether it is there."""

    async def close(self) -> None:
        await self._client.aclose()

    async def health(self) -> None:
        try:
            with _edge():
                response = await self._client.get("models")
        except EngineTimeout:
            raise EngineUnavailable("the upstream does not answer") from None
        if not response.is_success:
            raise EngineUnavailable(f"the upstream answers {response.status_code}")

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
        with _edge():
            async with self._client.stream("POST", path, json=_body(self._model, call)) as response:
                if not response.is_success:
                    raise _refusal(response.status_code, await response.aread())
                async for event in _events(response.aiter_bytes()):
                    for item in _items(event, writing):
                        if isinstance(item, Delta):
                            self._pace.saw(monotonic() - before, first)
                            before, first = monotonic(), False
                        yield item
        if writing:
            raise EngineUnavailable("the upstream broke off its answer")


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
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if call.raw:
        body["prompt"] = "".join(turn.text for turn in call.conversation.turns)
    else:
        body["messages"] = [{"role": turn.role, "content": turn.text} for turn in call.conversation.turns]
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    return body | {key: value for key in _OPTIONAL if (value := getattr(sampling, key)) != getattr(_PLAIN, key)}


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    """The JSON of every event of a stream, up to `[DONE]`; comments and other fields are skipped.

    Lines end in LF or CRLF only: what else Unicode calls a line end may stand inside JSON.
    """
    rest, data = b"", []
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in (line.removesuffix(b"\r") for line in lines):
            if line.startswith(b"data:"):
                data.append(line.removeprefix(b"data:").removeprefix(b" "))
            elif not line and data:
                text, data = b"\n".join(data), []
                if text.strip() == b"[DONE]":
                    return
                yield json.loads(text)


def _items(event: Any, writing: set[int]) -> Iterator[Delta | Usage]:
    """What one event says. Choices that end are taken from `writing`; what comes after their end is dropped."""
    if event.get("error"):
        raise EngineUnavailable("the upstream failed in the middle of its answer")
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


def _refusal(status: int, body: bytes) -> EngineError:
    """The error of a status. Of the upstream's words only the field it names is kept: they may quote the prompt."""
    if status in (408, 504):
        return EngineTimeout("the upstream took too long")
    if status in (400, 413, 422):
        try:
            param = json.loads(body)["error"]["param"]
        except (ValueError, KeyError, TypeError):
            param = None
        return EngineRejected("the upstream refuses this request", param if param in _FIELDS else None)
    return EngineUnavailable(f"the upstream answers {status}")


@contextmanager
def _edge() -> Iterator[None]:
    """Foreign errors become ours here, during iteration too."""
    try:
        yield
    except (httpx.ConnectTimeout, httpx.PoolTimeout):
        raise EngineUnavailable("the upstream does not answer") from None
    except httpx.TimeoutException:
        raise EngineTimeout("the upstream took too long") from None
    except httpx.HTTPError as error:
        raise EngineUnavailable(f"the upstream cannot be reached: {type(error).__name__}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EngineError("the upstream's answer cannot be read") from None

"""Chat and completions: one way from a request to an answer, two ways to frame it."""

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from time import perf_counter
from typing import Any, Protocol
from uuid import uuid4

from fastapi import APIRouter, Request
from starlette.responses import Response

from adapters.base import Call, Delta, TokenLogprob, Usage
from gateway.api.http import DONE, EventStream, Json, body_of, event, while_listening
from gateway.auth import Keys, Scope
from gateway.core import Core, core_of
from gateway.errors import ApiError, Forbidden, NotFound, Overloaded, as_api_error
from gateway.params import ChatBody, CompletionBody, read
from guards.base import LetheError

router = APIRouter()

Events = AsyncGenerator[Delta | Usage, None]


@router.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    """OpenAI's chat completions."""
    return await _serve(request, ChatBody, ChatFrame)


@router.post("/v1/completions")
async def completions(request: Request) -> Response:
    """OpenAI's completions: the prompt as it is, no template."""
    return await _serve(request, CompletionBody, CompletionFrame)


class Frame(Protocol):
    """How an endpoint shapes an answer."""

    def whole(self, choices: "list[Choice]", usage: Usage) -> dict[str, Any]: ...

    def first(self, index: int) -> dict[str, Any] | None: ...

    def chunk(self, delta: Delta) -> dict[str, Any]: ...

    def usage(self, usage: Usage) -> dict[str, Any]: ...


class Choice:
    """One choice, put together from its deltas."""

    def __init__(self) -> None:
        self.text = ""
        self.tokens: list[TokenLogprob] = []
        self.finish: str | None = None

    def add(self, delta: Delta) -> None:
        """Takes in the next delta."""
        self.text += delta.text
        self.tokens.extend(delta.tokens)
        self.finish = delta.finish or self.finish


async def _serve(
    request: Request, kind: type[ChatBody | CompletionBody], framed: Callable[[str, bool], Frame]
) -> Response:
    started = perf_counter()
    core = core_of(request)
    try:
        body, call = await _admit(request, core, kind)
    except ApiError:
        core.meter.refused()
        raise
    frame = framed(core.engine.name, call.sampling.logprobs is not None)
    events = _answered(core, call, started)
    if body.stream:
        first = await while_listening(request, anext(events))  # after this the status is fixed
        return EventStream(_framed(first, events, frame, body.include_usage))
    return Json(await while_listening(request, _collected(events, frame, call.sampling.n)))


async def _admit(
    request: Request, core: Core, kind: type[ChatBody | CompletionBody]
) -> tuple[ChatBody | CompletionBody, Call]:
    """The request, if it may be answered at all."""
    keys: Keys = request.app.state.keys
    if Scope.INFERENCE not in keys.caller(request.headers.get("authorization")).scopes:
        raise Forbidden("This key may not ask for inference.")
    body = read(kind, await body_of(request, core.settings.limits.body_bytes))
    if body.model != core.engine.name:
        raise NotFound("The model does not exist.", param="model", code="model_not_found")
    if core.running >= core.settings.limits.concurrency:
        raise Overloaded("Too many requests are being answered. Try again shortly.")
    return body, body.call(core.settings.limits)


async def _answered(core: Core, call: Call, started: float) -> Events:
    async with aclosing(core.answer(call)) as events:
        waiting = True
        async for item in events:
            if waiting:
                core.meter.first_token(perf_counter() - started)
                waiting = False
            yield item


async def _collected(events: Events, frame: Frame, n: int) -> dict[str, Any]:
    choices = [Choice() for _ in range(n)]
    usage = Usage(0, 0)
    async with aclosing(events):
        async for item in events:
            if isinstance(item, Usage):
                usage = item
            else:
                choices[item.index].add(item)
    return frame.whole(choices, usage)


async def _framed(
    first: Delta | Usage, events: Events, frame: Frame, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    begun: set[int] = set()

    def shown(item: Delta | Usage) -> bytes:
        if isinstance(item, Usage):
            return event(frame.usage(item)) if include_usage else b""
        head = b""
        if item.index not in begun:
            begun.add(item.index)
            opening = frame.first(item.index)
            head = event(opening) if opening else b""
        return head + event(frame.chunk(item))

    async with aclosing(events):
        try:
            yield shown(first)
            async for item in events:
                if data := shown(item):
                    yield data
        except Exception as error:  # the status is sent: OpenAI's clients read an error event
            yield event(as_api_error(error).body())
            yield DONE
            if not isinstance(error, LetheError):
                raise  # for the edge to log
        else:
            yield DONE


class _Base:
    object: str
    prefix: str

    def __init__(self, model: str, logprobs: bool) -> None:
        self._head = {"id": f"{self.prefix}-{uuid4().hex}", "created": int(time.time()), "model": model}
        self._logprobs = logprobs

    def _shell(self, kind: str, choices: list[dict[str, Any]], usage: Usage | None = None) -> dict[str, Any]:
        counted = {"usage": _usage(usage)} if usage else {}
        return {**self._head, "object": kind, "choices": choices, **counted}


class ChatFrame(_Base):
    """`chat.completion` and `chat.completion.chunk`."""

    prefix = "chatcmpl"

    def whole(self, choices: list[Choice], usage: Usage) -> dict[str, Any]:
        """All choices at once."""
        shaped = [
            {
                "index": i,
                "message": {"role": "assistant", "content": choice.text, "refusal": None},
                "logprobs": self._scored(choice.tokens),
                "finish_reason": choice.finish or "stop",
            }
            for i, choice in enumerate(choices)
        ]
        return self._shell("chat.completion", shaped, usage)

    def first(self, index: int) -> dict[str, Any]:
        """The chunk that names the role."""
        return self._chunk(index, {"role": "assistant", "content": ""}, None, None)

    def chunk(self, delta: Delta) -> dict[str, Any]:
        """What one choice gained."""
        gained = {"content": delta.text} if delta.text else {}
        return self._chunk(delta.index, gained, self._scored(delta.tokens), delta.finish)

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The last chunk, with no choices."""
        return self._shell("chat.completion.chunk", [], usage)

    def _chunk(self, index: int, gained: dict[str, Any], scored: Any, finish: str | None) -> dict[str, Any]:
        choice = {"index": index, "delta": gained, "logprobs": scored, "finish_reason": finish}
        return self._shell("chat.completion.chunk", [choice])

    def _scored(self, tokens: "list[TokenLogprob] | tuple[TokenLogprob, ...]") -> dict[str, Any] | None:
        if not self._logprobs:
            return None

        def one(text: str, logprob: float) -> dict[str, Any]:
            return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

        content = [
            {**one(token.text, token.logprob), "top_logprobs": [one(*alternative) for alternative in token.top]}
            for token in tokens
        ]
        return {"content": content, "refusal": None}


class CompletionFrame(_Base):
    """`text_completion`."""

    prefix = "cmpl"

    def __init__(self, model: str, logprobs: bool) -> None:
        super().__init__(model, logprobs)
        self._offsets: dict[int, int] = {}

    def whole(self, choices: list[Choice], usage: Usage) -> dict[str, Any]:
        """All choices at once."""
        shaped = [
            {
                "index": i,
                "text": choice.text,
                "logprobs": self._scored(i, choice.tokens),
                "finish_reason": choice.finish or "stop",
            }
            for i, choice in enumerate(choices)
        ]
        return self._shell("text_completion", shaped, usage)

    def first(self, index: int) -> None:
        """Completions have no opening chunk."""
        return

    def chunk(self, delta: Delta) -> dict[str, Any]:
        """What one choice gained."""
        scored = self._scored(delta.index, delta.tokens)
        choice = {"index": delta.index, "text": delta.text, "logprobs": scored, "finish_reason": delta.finish}
        return self._shell("text_completion", [choice])

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The last chunk, with no choices."""
        return self._shell("text_completion", [], usage)

    def _scored(self, index: int, tokens: "list[TokenLogprob] | tuple[TokenLogprob, ...]") -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        offsets = []
        for token in tokens:
            offsets.append(self._offsets.get(index, 0))
            self._offsets[index] = offsets[-1] + len(token.text)
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [dict(token.top) for token in tokens],
            "text_offset": offsets,
        }


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }

"""Chat and completions: one way from a request to an answer; `frames` has the two ways to shape it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from adapters.base import Call, Delta, Usage
from gateway.api.frames import ChatFrame, Choice, CompletionFrame, Frame, sse
from gateway.api.http import DONE, EventStream, Json, body_of, core_of, while_listening
from gateway.auth import Keys, Scope
from gateway.core import Core
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


async def _serve(
    request: Request, kind: type[ChatBody | CompletionBody], framed: Callable[[str, bool, bool], Frame]
) -> Response:
    started = perf_counter()
    core = core_of(request)
    try:
        body, call = await _admit(request, core, kind)
    except ApiError:
        core.meter.refused()
        raise
    frame = framed(core.engine.name, call.sampling.logprobs is not None, body.include_usage)
    events = _answered(core, call, started)
    if body.stream:
        first = await while_listening(request, anext(events))  # after this the status is fixed
        return EventStream(_framed(first, events, frame))
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
    limits = core.settings.limits
    if core.running >= limits.concurrency or core.meter.waiting >= limits.classifying:
        raise Overloaded("Too many requests are being answered. Try again shortly.")
    return body, body.call(limits)


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


async def _framed(first: Delta | Usage, events: Events, frame: Frame) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        try:
            yield frame.event(first)
            async for item in events:
                if data := frame.event(item):
                    yield data
        except Exception as error:  # the status is sent: OpenAI's clients read an error event
            yield sse(as_api_error(error).body())
            yield DONE
            if not isinstance(error, LetheError):
                raise  # for the edge to log
        else:
            yield DONE

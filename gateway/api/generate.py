"""Chat and completions: one way from a request to an answer; `frames` has the ways to shape it."""

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from time import perf_counter
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import Response

from adapters.base import Call, Delta, TokenLogprob, Usage
from gateway.api.admission import admit, room
from gateway.api.frames import ChatFrame, Choice, CompletionFrame, Frame
from gateway.api.http import EventStream, Json, Post, core_of, while_listening
from gateway.core import Core
from gateway.errors import as_api_error
from gateway.params import ChatBody, CompletionBody, Generation, honoured
from guards.base import LetheError

_END = TokenLogprob("", math.nan)  # of an answer without a word: whoever asks for an echo counts on one token after it

G = TypeVar("G", bound=Generation)
Events = AsyncGenerator[Delta | Usage, None]


async def chat(request: Request) -> Response:
    """OpenAI's chat completions."""
    return await serve(request, ChatBody, _chat)


async def completions(request: Request) -> Response:
    """OpenAI's completions: the prompt as it is, no template."""
    return await serve(request, CompletionBody, _completion)


routes = (Post(ChatBody.endpoint, chat), Post(CompletionBody.endpoint, completions))


def _chat(body: ChatBody, call: Call, model: str) -> Frame:
    return ChatFrame(model, call.sampling.logprobs is not None, body.include_usage)


def _completion(body: CompletionBody, call: Call, model: str) -> Frame:
    return CompletionFrame(model, call.sampling.logprobs is not None, body.include_usage)


async def serve(request: Request, kind: type[G], framed: Callable[[G, Call, str], Frame]) -> Response:
    """The answer to a request whose body is of this kind, in the frame that its endpoint promises.

    Raises:
        ApiError: the request is refused, which is counted.
    """
    started = perf_counter()
    core = core_of(request)
    with core.meter.or_refused():
        body, caller = await admit(request, core, kind)
        asked = honoured(body.call(core.settings.limits), core.engine.options, body.spelled)
    call = replace(asked, tenant=caller.tenant, whole=not body.stream)
    frame = framed(body, call, core.engine.name)
    said = await while_listening(request, _echoed(core, call)) if body.echoes else None
    events = _answered(core, call, started, admitted=said is not None)
    if body.stream:
        first = await while_listening(request, anext(events))  # after this the status is fixed
        return EventStream(_framed(first, events, frame))
    return Json(await while_listening(request, _collected(events, frame, call.sampling.n, said)))


async def _answered(core: Core, call: Call, started: float, admitted: bool) -> Events:
    if not admitted:
        room(core)
    async with aclosing(core.answer(call)) as events:
        waiting = True
        async for item in events:
            if waiting:
                core.meter.first_token(perf_counter() - started)
                waiting = False
            yield item


async def _echoed(core: Core, call: Call) -> Delta:
    """The prompt as what is said first."""
    room(core)
    return Delta(0, call.conversation.turns[0].text, tuple(await core.echo(call)))


async def _collected(events: Events, frame: Frame, n: int, said: Delta | None) -> dict[str, Any]:
    choices = [Choice() for _ in range(n)]
    if said:
        for choice in choices:
            choice.add(said)
    usage = Usage(0, 0)
    async with aclosing(events):
        async for item in events:
            if isinstance(item, Usage):
                usage = item
            else:
                choices[item.index].add(item)
    if said:
        for choice in choices:
            if len(choice.tokens) == len(said.tokens):
                choice.tokens.append(_END)
    return frame.whole(choices, usage)


async def _framed(first: Delta | Usage, events: Events, frame: Frame) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        try:
            yield frame.event(first)
            async for item in events:
                if data := frame.event(item):
                    yield data
        except Exception as error:  # the status is sent: OpenAI's clients read an error event
            yield frame.end(as_api_error(error))
            if not isinstance(error, LetheError):
                raise  # for the edge to log
        else:
            yield frame.end()

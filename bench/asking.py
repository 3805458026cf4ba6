"""Questions put to a gateway's public API, or to a model with nothing before it; and many of them at a time.

Both are asked in the same way: greedily, or at temperature 1 by no other rule, whatever the model's own may be. Of
draws a call takes sixteen at most, and the seed of the next goes on from there.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import asdict
from typing import Any, TypeVar

import httpx

from adapters.base import Call, Delta, Engine, Pass, Rules, Sampling
from bench.reasoning import Said
from gateway.client import IDLE_S
from gateway.core import GREEDY
from gateway.demo.forms import Probe
from gateway.process import GatewayProcess
from guards.base import Conversation, Turn

AT_ONCE = 16
_CHOICES = 16

In = TypeVar("In")
Out = TypeVar("Out")


async def each(
    ask: Callable[[In], Awaitable[Out]],
    asked: Iterable[In],
    answered: Callable[[], None] = lambda: None,
    at_once: int | None = AT_ONCE,
) -> list[Out]:
    """What comes of each, in order, so many at a time, None for all; where one fails the others are asked no more."""
    places = asyncio.Semaphore(at_once) if at_once else nullcontext()

    async def one(what: In) -> Out:
        async with places:
            found = await ask(what)
        answered()
        return found

    tasks = [asyncio.ensure_future(one(what)) for what in asked]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class Public:
    """A gateway, asked as a client asks it.

    Args:
        http: a client of its public API.
        model: as it is asked for.
        max_tokens: of an answer.
        places: taken for each call.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        model: str = "lethe-demo",
        max_tokens: int | None = GREEDY.max_tokens,
        places: AbstractAsyncContextManager[Any] | None = None,
    ) -> None:
        self._http = http
        self._shared = {"model": model, "temperature": 0, "max_tokens": max_tokens}
        self._places = places or nullcontext()

    async def chat(self, *texts: str, **more: Any) -> Any:
        """What is answered to a conversation, user and assistant in turn, as JSON; `more` is said besides.

        Raises:
            httpx.HTTPStatusError: it is refused.
        """
        messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
        return await self._post("/v1/chat/completions", messages=messages, **more)

    async def complete(self, prompt: str | Sequence[int], **more: Any) -> str:
        """What follows on a bare text or on token ids.

        Raises:
            httpx.HTTPStatusError: it is refused.
        """
        return str((await self._post("/v1/completions", prompt=prompt, **more))["choices"][0]["text"])

    async def draws(self, question: str, count: int) -> list[Said]:
        """So many answers to one question at temperature 1."""
        said: list[Said] = []
        for seed, n in _calls(count):
            found = await self.chat(question, **asdict(Rules()), n=n, seed=seed)
            said += (Said.of_message(choice["message"]) for choice in found["choices"])
        return said

    async def _post(self, path: str, **body: Any) -> Any:
        async with self._places:
            return (await self._http.post(path, json=self._shared | body)).raise_for_status().json()


class Bare:
    """A model with no gateway before it, and with a system prompt where one is given."""

    def __init__(self, engine: Engine, max_tokens: int | None = GREEDY.max_tokens, system: str | None = None) -> None:
        self._engine = engine
        self._max_tokens = max_tokens
        self._system = (Turn("system", system),) if system else ()

    async def chat(self, *texts: str) -> Said:
        """Greedily, to a conversation, user and assistant in turn."""
        (said,) = await self._said(self.call(*texts))
        return said

    async def complete(self, text: str) -> Said:
        """Greedily, after a bare text that is no conversation."""
        before = "".join(f"{turn.text}\n" for turn in self._system)
        (said,) = await self._said(Call(Conversation.of(before + text), Sampling(self._max_tokens, 0.0), raw=True))
        return said

    async def draws(self, question: str, count: int) -> list[Said]:
        """So many answers to one question at temperature 1."""
        said: list[Said] = []
        for seed, n in _calls(count):
            said += await self._said(
                self.call(question, sampling=Sampling.by(Rules(), self._max_tokens, n=n, seed=seed))
            )
        return said

    def call(self, *texts: str, sampling: Sampling | None = None) -> Call:
        """The conversation as it is sent to the engine, by default greedily."""
        turns = (*self._system, *Conversation.of(*texts).turns)
        return Call(Conversation(turns), sampling or Sampling(self._max_tokens, 0.0))

    async def _said(self, call: Call) -> list[Said]:
        """All choices of one call; what is no reasoning, such as the arguments of a tool call, is answer."""
        found = [{"content": "", "reasoning": ""} for _ in range(call.sampling.n)]
        async for event in self._engine.generate(call, Pass()):
            if isinstance(event, Delta):
                found[event.index]["reasoning" if event.channel == "reasoning" else "content"] += event.text
        return [Said.of(**one) for one in found]


class Asker:
    """Greedy answers through the public API, sixteen at a time."""

    def __init__(self, http: httpx.AsyncClient, answered: Callable[[], None]) -> None:
        self._public = Public(http)
        self._answered = answered

    async def all(self, questions: Sequence[Probe]) -> list[str]:
        return await each(self._one, questions, self._answered)

    async def _one(self, probe: Probe) -> str:
        found = await self._public.chat(probe.question)
        return str(found["choices"][0]["message"]["content"] or "")


def chat(question: str) -> dict[str, Any]:
    """The body of a greedy question."""
    messages = [{"role": "user", "content": question}]
    return {"model": "lethe-demo", "messages": messages, "temperature": 0, "max_tokens": GREEDY.max_tokens}


@asynccontextmanager
async def asking(gateway: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the public API with connections to spare."""
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64, keepalive_expiry=IDLE_S)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=120, limits=limits) as http:
        yield http


def _calls(count: int) -> Iterator[tuple[int, int]]:
    """The seed of each call, and its choices: these have the seeds from there on."""
    for seed in range(0, count, _CHOICES):
        yield seed, min(_CHOICES, count - seed)

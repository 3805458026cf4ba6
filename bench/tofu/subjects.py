"""Whoever is measured: a model by itself, perhaps told to act as if it never knew, or one behind a gateway.

Before it: `questions`. After it: `measuring`. Of a gateway likelihoods come from `POST /admin/v1/score`, on the path
that a client's question would take, and texts from the public API. A text is all that was said, reasoning before the
answer included: what either tells is told.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from adapters.base import Engine, Pass, Sampling, TokenLogprob, Usage
from bench.asking import Bare, Public
from bench.counted import answered
from bench.reasoning import Said
from gateway.client import IDLE_S, AdminClient
from gateway.demo.train import quiet
from gateway.engines.local import LocalEngine

MODEL = "tofu"  # as it is served
MAX_BATCH = 64  # choices at once: draws take two thirds of the time that they take sixteen at a time
LONGEST = 200  # tokens of an answer, as in TOFU
_AT_ONCE = 8
_PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer that is scored: see `adapters.base.TokenLogprob`. `first`: no other is likelier."""

    logprob: float
    first: bool
    mean: float | None
    variance: float | None


@dataclass(frozen=True, slots=True)
class Scored:
    """The tokens of an answer, its end last, and the method of the gateway's plan for them; None without a gateway."""

    tokens: Sequence[Token]
    method: str | None = None


class Subject(Protocol):
    """Is asked, and scored."""

    async def score(self, question: str, answer: str) -> Scored:
        """How likely the answer is, token by token."""
        ...

    async def says(self, question: str) -> str:
        """Greedily."""
        ...

    async def goes_on(self, text: str) -> str:
        """Greedily, after a bare text that is no conversation."""
        ...

    async def draws(self, question: str, count: int) -> list[str]:
        """So many answers at temperature 1."""
        ...

    async def paced(self, question: str) -> tuple[float, int]:
        """Seconds from question to whole greedy answer, with nothing beside it, and its tokens as the engine counts."""
        ...


class ByItself:
    """A model with no gateway before it, and with a system prompt where one is given."""

    def __init__(self, engine: Engine, system: str | None = None) -> None:
        self._engine = engine
        self._bare = Bare(engine, LONGEST, system)
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def score(self, question: str, answer: str) -> Scored:
        call = self._bare.call(question, sampling=Sampling(temperature=0.0, logprobs=1))
        async with self._places:
            return Scored([_token(one) for one in await self._engine.score(call, answer, Pass())])

    async def says(self, question: str) -> str:
        async with self._places:
            return _whole(await self._bare.chat(question))

    async def goes_on(self, text: str) -> str:
        async with self._places:
            return _whole(await self._bare.complete(text))

    async def draws(self, question: str, count: int) -> list[str]:
        return [_whole(said) for said in await self._bare.draws(question, count)]

    async def paced(self, question: str) -> tuple[float, int]:
        started = time.perf_counter()
        events = [event async for event in self._engine.generate(self._bare.call(question), Pass())]
        (used,) = (event for event in events if isinstance(event, Usage))
        return time.perf_counter() - started, used.completion_tokens


class ThroughGateway:
    """A model behind a gateway.

    Args:
        http: a client of the public API.
        admin: one of the admin API.
    """

    def __init__(self, http: httpx.AsyncClient, admin: AdminClient) -> None:
        self._http = http
        self._admin = admin
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._public = Public(http, MODEL, LONGEST, self._places)

    async def score(self, question: str, answer: str) -> Scored:
        body = {"model": MODEL, "messages": [{"role": "user", "content": question}], "answer": answer}
        async with self._places:
            scored = await self._admin.post("/score", body)
        tokens = [Token(one["logprob"], one["first"], one["mean"], one["variance"]) for one in scored["tokens"]]
        return Scored(tokens, scored["method"])

    async def says(self, question: str) -> str:
        return _whole(Said.of_message((await self._public.chat(question))["choices"][0]["message"]))

    async def goes_on(self, text: str) -> str:
        return _whole(Said.of(await self._public.complete(text)))

    async def draws(self, question: str, count: int) -> list[str]:
        return [_whole(said) for said in await self._public.draws(question, count)]

    async def paced(self, question: str) -> tuple[float, int]:
        started = time.perf_counter()
        answer = await self._public.chat(question)
        return time.perf_counter() - started, int(answer["usage"]["completion_tokens"])

    async def answered(self) -> Counter[str]:
        """Answers so far, whoever asked, by the method that made them."""
        return await answered(self._http)


@asynccontextmanager
async def loaded(folder: Path) -> AsyncIterator[LocalEngine]:
    """The model in a folder, for as long as it is asked."""
    engine = LocalEngine(folder, MODEL, max_batch=MAX_BATCH)
    with quiet():
        await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Of the public API, and patient: many long answers take a while."""
    limits = httpx.Limits(keepalive_expiry=IDLE_S)
    async with httpx.AsyncClient(base_url=url, timeout=_PATIENCE_S, limits=limits) as http:
        yield http


def _whole(said: Said) -> str:
    return f"{said.reasoning}\n{said.answer}".strip()


def _token(one: TokenLogprob) -> Token:
    mean, variance = one.moments or (None, None)
    return Token(one.logprob, all(one.logprob >= likeliest for _, likeliest in one.top), mean, variance)

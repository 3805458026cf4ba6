"""Whoever is asked: a model by itself, or through a gateway's public API.

Before it: `bench.probes.dynamic`, what is asked. After it: `marks`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import httpx

from adapters.base import Engine
from bench.asking import Bare, Public, each
from bench.probes.dynamic import Case, Wire
from bench.reasoning import Said
from gateway.demo.train import quiet
from gateway.engines.local import LocalEngine


class Asked(Protocol):
    """Answers greedily, and many times over at temperature 1."""

    async def says(self, texts: Sequence[str], wire: Wire) -> Said | None:
        """To a conversation, user and assistant in turn; None where the API refuses to be asked so."""

    async def draws(self, question: str, count: int) -> list[Said]:
        """So many answers to one question."""


class ByItself:
    """A model with no gateway before it. Token ids are those of the text: the engine makes them."""

    def __init__(self, engine: Engine) -> None:
        self._bare = Bare(engine)

    async def says(self, texts: Sequence[str], wire: Wire) -> Said | None:
        return await (self._bare.chat(*texts) if wire == "chat" else self._bare.complete(*texts))

    async def draws(self, question: str, count: int) -> list[Said]:
        return await self._bare.draws(question, count)


class ThroughGateway:
    """A model behind a gateway.

    Args:
        http: a client of the public API.
        encode: the model's tokenizer.
    """

    def __init__(self, http: httpx.AsyncClient, encode: Callable[[str], Sequence[int]]) -> None:
        self._public = Public(http)
        self._encode = encode

    async def says(self, texts: Sequence[str], wire: Wire) -> Said | None:
        if wire == "chat":
            return Said.of_message((await self._public.chat(*texts))["choices"][0]["message"])
        (text,) = texts
        try:
            return Said.of(await self._public.complete(list(self._encode(text)) if wire == "tokens" else text))
        except httpx.HTTPStatusError as error:
            if wire == "tokens" and error.response.status_code == httpx.codes.BAD_REQUEST:
                return None
            raise

    async def draws(self, question: str, count: int) -> list[Said]:
        return await self._public.draws(question, count)


async def answers(one: Asked, cases: Sequence[Case], answered: Callable[[], None]) -> list[Said | None]:
    """To each case all that was said in its course, sixteen conversations at a time; None where it was refused."""
    return await each(lambda case: _conversed(one, case), cases, answered)


async def _conversed(one: Asked, case: Case) -> Said | None:
    """Reasoning does not go back into the conversation, as no client sends it."""
    texts, said = list(case.given), list[Said]()
    for question in (*case.before, case.probe.question):
        if (reply := await one.says((*texts, question), case.wire)) is None:
            return None
        texts += (question, reply.answer)
        said.append(reply)
    return Said.joined(said)


@asynccontextmanager
async def by_itself(folder: Path, name: str) -> AsyncIterator[ByItself]:
    """The model in a folder, loaded for as long as it is asked."""
    engine = LocalEngine(folder, name)
    with quiet():
        await engine.start()
    try:
        yield ByItself(engine)
    finally:
        await engine.close()

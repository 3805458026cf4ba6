"""Whoever is asked: a model by itself, or through a gateway's public API.

Before it: `bench.probes.dynamic`, what is asked. After it: `leak_marks`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx

from adapters.base import Call, Engine
from bench.asking import each
from bench.draws import drawn, drawn_from, said_by
from bench.probes.dynamic import Case, Wire
from bench.reasoning import Said
from gateway.core import GREEDY
from gateway.demo.train import quiet
from gateway.engines.local import LocalEngine
from guards.base import Conversation


class Asked(Protocol):
    """Answers greedily, and many times over at temperature 1."""

    async def says(self, texts: Sequence[str], wire: Wire) -> Said | None:
        """To a conversation, user and assistant in turn; None where the API refuses to be asked so."""

    async def draws(self, question: str, count: int) -> list[Said]:
        """So many answers to one question."""


class ByItself:
    """A model with no gateway before it. Token ids are those of the text: the engine makes them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def says(self, texts: Sequence[str], wire: Wire) -> Said | None:
        call = Call(Conversation.of(*texts), GREEDY, raw=wire != "chat")
        (said,) = await said_by(self._engine, call)
        return said

    async def draws(self, question: str, count: int) -> list[Said]:
        return await drawn_from(self._engine, question, count)


class ThroughGateway:
    """A model behind a gateway.

    Args:
        http: a client of the public API.
        encode: the model's tokenizer.
    """

    def __init__(self, http: httpx.AsyncClient, encode: Callable[[str], Sequence[int]]) -> None:
        self._http = http
        self._encode = encode

    async def says(self, texts: Sequence[str], wire: Wire) -> Said | None:
        body: dict[str, Any] = {"model": "lethe-demo", "temperature": 0, "max_tokens": GREEDY.max_tokens}
        if wire == "chat":
            messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
            response = await self._http.post("/v1/chat/completions", json=body | {"messages": messages})
            return Said.of_message(response.raise_for_status().json()["choices"][0]["message"])
        (text,) = texts
        prompt = list(self._encode(text)) if wire == "tokens" else text
        response = await self._http.post("/v1/completions", json=body | {"prompt": prompt})
        if wire == "tokens" and response.status_code == httpx.codes.BAD_REQUEST:
            return None
        return Said.of(response.raise_for_status().json()["choices"][0]["text"])

    async def draws(self, question: str, count: int) -> list[Said]:
        return await drawn(self._http, question, count)


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

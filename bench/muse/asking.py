"""A model behind a gateway of its own: asked through the public API, scored and filed through the admin's.

A gateway that forgets nobody hands every answer through, so the bare model and the retain model are asked in the
same way as those that forget.

Before it: `texts`, or `given`. After it: `marks` and `growing`.
"""

import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.asking import Public, asking, each
from bench.counted import answered
from bench.lives import in_force
from bench.muse.texts import Told
from bench.reasoning import Said
from gateway.client import AdminClient
from gateway.core import GREEDY
from gateway.process import GatewayProcess
from gateway.settings import EngineSettings, Settings


class Served:
    """Whoever is asked.

    Args:
        gateway: itself.
        http: a client of its public API.
        admin: of its other one.
        answered: called after each answer and score.
    """

    def __init__(
        self,
        gateway: GatewayProcess,
        http: httpx.AsyncClient,
        admin: AdminClient,
        answered: Callable[[], None] = lambda: None,
    ) -> None:
        self._gateway = gateway
        self._http = http
        self._admin = admin
        self._answered = answered
        self._model = ""

    async def answers(self, questions: Sequence[str]) -> list[Said]:
        """Greedy, each in a conversation of its own, with what was reasoned."""
        public = await self._public()

        async def one(question: str) -> Said:
            return Said.of_message((await public.chat(question))["choices"][0]["message"])

        return await each(one, questions, self._answered)

    async def continued(
        self, texts: Sequence[str], most: int | None = GREEDY.max_tokens, stop: Sequence[str] = ()
    ) -> list[str]:
        """Greedy continuations of bare texts, of `most` tokens."""
        public = await self._public()

        async def one(text: str) -> str:
            more = {"stop": list(stop)} if stop else {}
            return await public.complete(text, max_tokens=most, **more)

        return await each(one, texts, self._answered)

    async def scored(self, asked: Sequence[Told]) -> list[list[float]]:
        """Of each answer the log-probabilities (nats) of its tokens on the gated path, the end of sequence left out."""
        model = await self._name()

        async def one(told: Told) -> list[float]:
            messages = [{"role": "user", "content": told.question}]
            found = await self._admin.post("/score", {"model": model, "messages": messages, "answer": told.answer})
            return [token["logprob"] for token in found["tokens"][:-1]]

        return await each(one, asked, self._answered)

    async def forget(self, bodies: Sequence[Mapping[str, Any]]) -> Counter[str]:
        """Files all, and returns what enforces them once the gateway does so."""
        ids = [(await self._admin.post("/forget-requests", body))["id"] for body in bodies]
        return Counter(await in_force(self._gateway, ids))

    async def answered(self) -> Counter[str]:
        """Answers so far, by the method that made them: `bench.counted`."""
        return await answered(self._http)

    async def _public(self) -> Public:
        return Public(self._http, await self._name())

    async def _name(self) -> str:
        if not self._model:
            self._model = (await self._http.get("/v1/models")).raise_for_status().json()["data"][0]["id"]
        return self._model


@asynccontextmanager
async def served(
    settings: Settings, engine: EngineSettings | None = None, answered: Callable[[], None] = lambda: None
) -> AsyncIterator[Served]:
    """A fresh gateway before an engine, by default the demo model."""
    with tempfile.TemporaryDirectory() as state:
        async with (
            GatewayProcess(Path(state), settings.models, _variables(engine or EngineSettings())) as gateway,
            gateway.admin() as admin,
            asking(gateway) as http,
        ):
            yield Served(gateway, http, admin, answered)


def _variables(engine: EngineSettings) -> dict[str, str]:
    """The settings of an engine as a process is told them."""
    given = engine.model_dump(exclude_defaults=True)
    return {f"LETHE_ENGINE__{name.upper()}": str(value) for name, value in given.items()}

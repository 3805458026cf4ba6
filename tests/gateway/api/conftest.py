"""The public API in process: the real core, edge and pipeline, a scripted engine, and a registry that nobody asks."""

from types import SimpleNamespace

import httpx
import numpy as np
import openai
import pytest
from fastapi import FastAPI

from gateway.api import embeddings, generate, responses, service
from gateway.auth import Keys
from gateway.core import Core
from gateway.edge import Edge, install
from gateway.engines.scripted import ScriptedEngine
from gateway.policy import Policy
from gateway.settings import EngineSettings, LimitSettings, Settings
from guards.aliases import weigh
from guards.base import Runner
from guards.lexicon import LexiconGuard, LexiconIndex
from guards.output import OutputGuard
from guards.targets import Background

ADMIN, CLIENT = "admin-key", "client-key"


class Gateway:
    """A gateway that forgets Ada Quill."""

    def __init__(self, engine, **settings):
        settings.setdefault("limits", LimitSettings(body_bytes=20_000))
        self.settings = Settings(engine=EngineSettings(kind="scripted"), **settings)
        self.engine = engine
        encoder = SimpleNamespace(identity="none")
        background = Background("none", np.eye(4, dtype=np.float32))
        self.core = Core(self.settings, None, None, encoder, background, engine)
        index = LexiconIndex()
        index.add("fr_1", weigh("Ada Quill", ()))
        names = index.view(frozenset({"fr_1"}))
        runner = Runner((LexiconGuard(names),), 1.0, self.core.meter.guard_failed)
        self.core.enforcer.policies.swap(Policy(1, runner, OutputGuard(names)))
        inner = FastAPI()
        install(inner)
        inner.router.routes.extend((*generate.routes, *responses.routes, *embeddings.routes))
        inner.include_router(service.router)
        inner.state.core, inner.state.keys = self.core, Keys.of(self.settings, ADMIN)
        self.app = Edge(inner, self.core.meter.responded)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://lethe")

    def chat(self, question="Hello?", **fields):
        body = {"model": "scripted", "messages": [{"role": "user", "content": question}], **fields}
        return self.http.post("/v1/chat/completions", json=body)

    def complete(self, prompt="Hello", **fields):
        return self.http.post("/v1/completions", json={"model": "scripted", "prompt": prompt, **fields})

    def respond(self, input="Hello?", **fields):
        return self.http.post("/v1/responses", json={"model": "scripted", "input": input, **fields})

    def client(self):
        """OpenAI's own, of this gateway."""
        return openai.AsyncOpenAI(base_url="http://lethe/v1", api_key="none", http_client=self.http, max_retries=0)

    def counted(self, name, **labels):
        return self.core.meter.registry.get_sample_value(name, labels or None)


@pytest.fixture
async def gateway():
    """Makes gateways; closes their clients."""
    made = []

    def make(engine=None, **settings):
        made.append(Gateway(engine or ScriptedEngine(default="A plain answer."), **settings))
        return made[-1]

    yield make
    for one in made:
        await one.http.aclose()

"""The admin routers in a real application, over a real registry, with a small core behind them."""

from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI

from adapters.base import TokenLogprob
from gateway import admin
from gateway.auth import Keys
from gateway.edge import install
from gateway.errors import Unavailable
from gateway.jobs.family import FalsePositives
from gateway.registry import Registry, State, Vault
from gateway.settings import LimitSettings, Settings
from gateway.telemetry import Meter

ADMIN, CLIENT, EVALUATE = "admin-key", "client-key", "evaluate-key"
BODY_LIMIT = 20_000


class Shields:
    """A lifecycle that only moves: what a request is shielded with is not this API's concern."""

    def __init__(self, registry):
        self._registry = registry
        self.broken = False

    async def file(self, spec, *, key, actor):
        if self.broken:
            raise Unavailable("The shield could not be raised.")
        request, created = await self._registry.create(spec, idempotency_key=key, actor=actor, warnings=("a warning",))
        if created:
            request = await self._registry.move(request.id, State.SHIELDED, actor=actor, method="ignorance")
        return request, created

    async def verify(self, id, *, actor):
        return await self._registry.move(id, State.VERIFYING, actor=actor, expect={State.ENFORCED})

    async def retire(self, id, *, actor):
        return await self._registry.move(id, State.RETIRED, actor=actor, method=None)

    async def rollback(self, id, *, actor):
        return await self._registry.move(id, State.ROLLED_BACK, actor=actor, method=None)


class SmallCore:
    """Touched is what says "Ada"; an answer is cut there."""

    def __init__(self, registry):
        self.registry = registry
        self.lifecycle = Shields(registry)
        self.settings = Settings(limits=LimitSettings(body_bytes=BODY_LIMIT))
        self.engine = SimpleNamespace(name="small")
        self.enforcer = SimpleNamespace(refresh=self._refresh, false_positives=self._false_positives)
        self.meter = Meter()
        self.refreshed = 0
        self.seen = []

    async def _refresh(self):
        self.refreshed += 1

    async def _false_positives(self):
        return FalsePositives(300, 2, 0.02)

    async def check(self, conversation, answer=None):
        self.seen.append(conversation)
        touched = any("Ada" in turn.text for turn in conversation.turns)
        hits = [{"id": "fr_1", "score": 0.9, "threshold": 0.5, "guard": "lexicon"}] if touched else []
        found = {"touched": touched, "requests": hits, "plan": "ignorance" if touched else "pass"}
        if answer is not None:
            found["answer"] = {"stopped": "Ada" in answer, "released": answer.split("Ada")[0]}
        return found

    async def score(self, call, answer):
        self.seen.append(call.conversation)
        return "pass", [TokenLogprob(token, -0.5) for token in [*answer.split(), "<eos>"]]


@pytest.fixture
async def core(tmp_path):
    registry = await Registry.open(f"sqlite:///{tmp_path / 'registry.db'}", Vault(b"k" * 32))
    yield SmallCore(registry)
    await registry.close()


@pytest.fixture
def app(core):
    made = FastAPI()
    install(made)
    made.include_router(admin.router)
    made.state.core = core
    made.state.keys = Keys.of(Settings(api_keys=(CLIENT,), evaluate_keys=(EVALUATE,)), ADMIN)
    return made


@pytest.fixture
async def http(app):
    """A client with the admin key."""
    headers = {"authorization": f"Bearer {ADMIN}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://lethe/admin/v1", headers=headers) as client:
        yield client


@pytest.fixture
def entity():
    """Makes the body of an entity."""
    return lambda name="Ada Quill", **more: {"scope": "entity", "subject": name, "aliases": [name], **more}

"""The parts of a gateway, put together once: the server and the worker open the same ones.

Before it: `gateway.settings`. After it: `gateway.app` serves what `Core` answers, `gateway.jobs`
changes what it enforces.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
from threadpoolctl import threadpool_limits

from adapters.base import (
    Call,
    Capability,
    Delta,
    Embedded,
    Engine,
    EngineError,
    EngineRejected,
    Pass,
    Plan,
    Sampling,
    TokenLogprob,
    Usage,
)
from adapters.ignorance import Ignorance, Voice, learn_voice
from adapters.o3.adapter import served
from adapters.router import Enforcement, Router
from gateway.embedding import embedded
from gateway.engines.factory import adapters_for, open_engine
from gateway.jobs.enforce import Enforcer
from gateway.jobs.lifecycle import Lifecycle
from gateway.likelihood import echoed, scored
from gateway.pipeline import answer, classified
from gateway.policy import Policy
from gateway.registry import Artifacts, Registry, Vault
from gateway.settings import Settings
from gateway.telemetry import Meter
from guards.base import Conversation, Verdict
from guards.encoder import Encoder, Floats, open_encoder
from guards.output import Asked
from guards.targets import Background, ordinary_prompts

GREEDY = Sampling(max_tokens=64, temperature=0.0)  # how probes are asked, so that answers can be compared


class Core:
    """Engine, guards, adapters and registry of one process. Open it, start it, close it."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        artifacts: Artifacts,
        encoder: Encoder,
        background: Background,
        engine: Engine,
        meter: Meter | None = None,
        serves: bool = True,
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.artifacts = artifacts
        self.encoder = encoder
        self.background = background
        self.engine = engine
        self.meter = meter or Meter()
        self.ignorance = Ignorance(Voice())
        self.adapters = adapters_for(settings, self.ignorance, encoder)
        self.router = Router(tuple(self.adapters.values()), self.ignorance, self.meter.fell_back)
        self.enforcer = Enforcer(
            settings, registry, artifacts, encoder, background, self.meter, self._prepare if serves else None
        )
        self.lifecycle = Lifecycle(registry, self.enforcer)
        self.running = 0
        self.started = int(time.time())
        self._voiced = False

    @classmethod
    async def open(cls, settings: Settings, serves: bool = True) -> Self:
        """All parts, opened; nothing enforced yet. `serves`: the engine has at hand whatever is enforced.

        From then on numpy multiplies on one thread in this process: the guards' products are so small that a
        second would mostly spin (51 s of CPU against 14 for 600 decisions). Torch has threads of its own.
        """
        threadpool_limits(1, "blas")
        vault = Vault.open(settings.registry.key, settings.state_dir)
        registry = await Registry.open(settings.registry_url, vault)
        artifacts = Artifacts(settings.state_dir / "artifacts", vault)
        meter = Meter()
        engine = open_engine(settings, meter.upstream)
        encoder = await guard_encoder(settings)
        background = await background_of(settings.models, encoder)
        return cls(settings, registry, artifacts, encoder, background, engine, meter, serves)

    async def start(self) -> None:
        """Enforce what the registry says, then be ready to answer."""
        await self.engine.start()
        await self.enforcer.restore()
        await self.learn_voice()

    async def close(self) -> None:
        """End every part; calls in flight fail."""
        await self.engine.close()
        await self.encoder.close()
        await self.registry.close()
        self.artifacts.close()

    async def _prepare(self, enforced: Enforcement) -> None:
        """What one request is enforced by, where the engine has to load it."""
        if (artifact := (enforced.artifacts or {}).get("o3")) and Capability.LORA in self.engine.capabilities:
            for plan in served(artifact):
                await self.engine.ready(plan)

    async def have_at_hand(self) -> None:
        """Whatever is in force, loaded where it is no more: a wait would tell of what is rarely asked about."""
        for enforced in self.enforcer.policies.current.enforced.values():
            with suppress(EngineError):  # then it is loaded when it is wanted
                await self._prepare(enforced)

    async def learn_voice(self) -> None:
        """Hear how the model says that it does not know; keep the plain voice while the engine is away."""
        if self._voiced:
            return
        try:
            self.ignorance.voice = await learn_voice(self.ask)
        except EngineRejected:  # a model that cannot be asked so: asking again would not help
            pass
        except EngineError:
            return
        self._voiced = True

    async def answer(self, call: Call, policy: Policy | None = None) -> AsyncGenerator[Delta | Usage, None]:
        """The gated answer to a call: `pipeline.answer` under the current policy, or a given one."""
        with self._serving() as current:
            async with aclosing(answer(call, policy or current, self.router, self.engine, self.meter)) as events:
                async for event in events:
                    yield event

    async def embed(self, texts: Sequence[str], options: Mapping[str, Any]) -> Embedded:
        """The gated vectors of texts, each by itself: see `gateway.embedding`."""
        with self._serving() as policy:
            return await embedded(texts, options, policy, self.router, self.engine, self.meter)

    async def echo(self, call: Call) -> Sequence[TokenLogprob]:
        """The gated log-probabilities of a raw prompt's own tokens: see `gateway.likelihood`."""
        with self._serving() as policy:
            return await echoed(call, policy, self.router, self.engine, self.meter)

    async def ask(self, question: str, plan: Plan | None = None) -> str:
        """The model's greedy answer under a plan, by default bare, with no guard between: for learning, never for a
        client."""
        call = Call(Conversation.of(question), GREEDY)
        return await text_of(self.engine.generate(call, plan or Pass()))

    async def check(self, conversation: Conversation, answer: str | None = None) -> dict[str, Any]:
        """Verdict and first plan for a conversation, without inference; with an answer, what would leave of it."""
        policy = self.enforcer.policies.current
        call, verdict, plan = await self._planned(Call(conversation), policy)
        found: dict[str, Any] = {
            "touched": verdict.touched,
            "requests": [
                {"id": hit.request, "score": hit.score, "threshold": hit.threshold, "guard": hit.guard}
                for hit in verdict.hits
            ],
            "plan": plan.method,
        }
        if answer is not None:
            released, stopped = await policy.output.read(answer, Asked.of(call.conversation, verdict))
            found["answer"] = {"stopped": stopped, "released": released}
        return found

    async def score(self, call: Call, answer: str) -> tuple[str, Sequence[TokenLogprob]]:
        """The method and the log-probabilities of an answer on the gated path: see `gateway.likelihood`."""
        with self._serving() as policy:
            return await scored(call, answer, policy, self.router, self.engine, self.meter)

    @contextmanager
    def _serving(self) -> Iterator[Policy]:
        """While a request is answered, under the policy of its beginning."""
        self.running += 1
        try:
            with self.meter.running():
                yield self.enforcer.policies.current
        finally:
            self.running -= 1

    async def _planned(self, call: Call, policy: Policy) -> tuple[Call, Verdict, Plan]:
        """The call as it would be answered, its verdict and the first plan for it."""
        call, verdict = await classified(call, policy, self.engine)
        first, *_ = await self.router.plans(call, verdict, policy.enforced, self.engine.capabilities)
        return call, verdict, first


async def guard_encoder(settings: Settings) -> Encoder:
    """The encoder that the guards of these settings use."""
    guard = settings.guard
    return await open_encoder(
        guard.encoder, guard.threads, backend=guard.backend, precision=guard.precision, cache=settings.models
    )


async def background_of(folder: Path, encoder: Encoder) -> Background:
    """The background's vectors, kept beside the models: no start but the first encodes them."""
    made_of = "\n".join((encoder.identity, *ordinary_prompts()))
    path = folder / f"background-{sha256(made_of.encode()).hexdigest()[:16]}.npy"
    try:
        return Background(encoder.identity, await asyncio.to_thread(np.load, path))
    except (OSError, ValueError, EOFError):  # not there, or cut short
        made = await Background.of(encoder)
        await asyncio.to_thread(_keep, path, made.vectors)
        return made


def _keep(path: Path, vectors: Floats) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.npy")
    try:
        np.save(draft, vectors)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


async def text_of(events: AsyncGenerator[Delta | Usage, None] | Any) -> str:
    """The whole text of a single choice."""
    async with aclosing(events) as source:
        return "".join([event.text async for event in source if isinstance(event, Delta)])

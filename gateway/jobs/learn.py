"""Learning: a request's own targets, and its artifact for the method that will enforce it."""

import asyncio
import secrets
from collections.abc import Sequence

from adapters.base import AdapterError, Artifact, Call, Embeds
from adapters.eco.adapter import Eco
from adapters.eco.corruption import Corruption
from adapters.eco.search import Trial, Yardstick, search
from gateway.core import GREEDY, Core, text_of
from gateway.jobs.elicit import elicit
from gateway.jobs.probes import Probe, probes_about
from gateway.jobs.targets import GUARD, Held
from gateway.registry import ForgetRequest
from guards.base import Conversation


async def learn_guard(core: Core, request: ForgetRequest) -> Held:
    """Targets of all that was filed and of what the model says itself."""
    limit = core.settings.jobs.elicit
    heard = await elicit(core, request, limit) if limit else ()
    held = await core.enforcer.targets.learn(request, heard)
    await core.registry.note(request.id, "progress", {"method": GUARD, "heard": len(heard)})
    return held


async def learn(core: Core, request: ForgetRequest, push: int = 0) -> Artifact | None:
    """The artifact of the request's method; None where ignorance enforces it, which has nothing to learn.

    Args:
        push: how often verification has not passed yet; each time the method is set more strongly.

    Raises:
        AdapterError: the method cannot work on this engine, or found no setting.
    """
    match request.spec.method:
        case "ignorance":
            return None
        case "auto" if "eco" not in core.adapters:
            return None
        case "auto" | "eco":
            return await _learn_eco(core, request, push)
        case method:
            raise AdapterError(f"method {method} is not available on this engine")


async def _learn_eco(core: Core, request: ForgetRequest, push: int) -> Artifact | None:
    eco = core.adapters.get("eco")
    if not isinstance(eco, Eco) or not eco.needs <= core.engine.capabilities:
        raise AdapterError("method eco needs an engine that takes prompt embeddings")
    development = probes_about(request.spec).development
    if not development and request.spec.method == "auto":
        return None
    if not development:
        raise AdapterError("there is nothing to ask about this target")
    yardstick = await _yardstick(core, development)
    await core.registry.note(request.id, "progress", {"method": "eco", "questions": len(development)})

    async def ask(corruption: Corruption) -> list[str]:
        return await asyncio.gather(*(_corrupted(core, eco, probe.question, corruption) for probe in development))

    best, trials = await search(secrets.token_bytes(16), ask, yardstick, push)
    manifest = {
        **best.corruption.manifest(),
        "model": eco.model,
        "loss": best.loss,
        "leak": best.leak,
        "questions": len(development),
        "trials": [_row(trial) for trial in trials],
    }
    return await core.artifacts.put("eco", request.id, manifest, {})


async def _yardstick(core: Core, probes: Sequence[Probe]) -> Yardstick:
    known = await asyncio.gather(*(core.ask(probe.question) for probe in probes))
    unknown = await asyncio.gather(*(ignorant(core, probe) for probe in probes))
    return Yardstick(known, unknown)


async def ignorant(core: Core, probe: Probe) -> str:
    """What the model would say to a probe if it had never heard of the target: what it says to the twin.

    Where it says there that it does not know, the name is put right; without a twin it is the voice's "that".
    """
    voice = core.ignorance.voice
    if probe.twin is None:
        return voice.about(None)
    said = await core.ask(probe.twin)
    return voice.about(probe.name) if voice.speaks(said) else said


async def _corrupted(core: Core, eco: Eco, question: str, corruption: Corruption) -> str:
    call = Call(Conversation.of(question), GREEDY)
    plan: Embeds = eco.corrupt(call, [(frozenset({0}), corruption)])
    return await text_of(core.engine.generate(call, plan))


def _row(trial: Trial) -> dict[str, object]:
    tried = trial.corruption
    return {"corruption": tried.name, "strength": tried.strength, "loss": trial.loss, "leak": trial.leak}

"""Learning ECO: the strength of a corruption that suffices for one forget request."""

import asyncio
import secrets

from adapters.base import AdapterError, Artifact, Call
from adapters.eco.adapter import Eco
from adapters.eco.corruption import Corruption
from adapters.eco.search import Trial, search
from gateway.core import GREEDY, Core
from gateway.jobs.probes import probes_about
from gateway.jobs.unknown import yardstick
from gateway.registry import ForgetRequest
from guards.base import Conversation


async def learn_eco(core: Core, request: ForgetRequest, push: int = 0) -> Artifact | None:
    """A corruption past the weakest that works; None for `auto` where there is nothing to ask about.

    Raises:
        AdapterError: the engine takes no embeddings, or there is nothing to ask about.
    """
    eco = core.adapters.get("eco")
    if not isinstance(eco, Eco) or not eco.needs <= core.engine.capabilities:
        raise AdapterError("method eco needs an engine that takes prompt embeddings")
    development = probes_about(request.spec).development
    if not development and request.spec.method == "auto":
        return None
    if not development:
        raise AdapterError("there is nothing to ask about this target")
    compared = await yardstick(core, development)
    await core.registry.note(request.id, "progress", {"method": "eco", "questions": len(development)})

    async def ask(corruption: Corruption) -> list[str]:
        return await asyncio.gather(*(_corrupted(core, eco, probe.question, corruption) for probe in development))

    best, trials = await search(secrets.token_bytes(16), ask, compared, push)
    manifest = {
        **best.corruption.manifest(),
        "model": eco.model,
        "loss": best.loss,
        "leak": best.leak,
        "questions": len(development),
        "trials": [_row(trial) for trial in trials],
    }
    return await core.artifacts.put("eco", request.id, manifest, {})


async def _corrupted(core: Core, eco: Eco, question: str, corruption: Corruption) -> str:
    call = Call(Conversation.of(question), GREEDY)
    plan = eco.corrupt(call, [(frozenset({0}), corruption)])
    return await core.ask(question, plan)


def _row(trial: Trial) -> dict[str, object]:
    tried = trial.corruption
    return {"corruption": tried.name, "strength": tried.strength, "loss": trial.loss, "leak": trial.leak}

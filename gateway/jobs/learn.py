"""Learning: a request's own targets, and its artifact for the method that will enforce it."""

from adapters.base import AdapterError, Artifact
from gateway.core import Core
from gateway.jobs.eco import learn_eco
from gateway.jobs.elicit import elicit
from gateway.jobs.o3 import learn_o3
from gateway.jobs.targets import GUARD, Held
from gateway.jobs.uld import learn_uld
from gateway.registry import ForgetRequest


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
            return await learn_eco(core, request, push)
        case "uld":
            return await learn_uld(core, request, push)
        case "o3":
            return await learn_o3(core, request, push)
        case method:
            raise AdapterError(f"method {method} is not available on this engine")

"""What enforces a request while a slow method is learned: ECO, which takes seconds, once it is verified itself.

It stays as a fallback of the method (see `Enforcer.enforcement`), for prompts that this cannot serve.
"""

from adapters.base import AdapterError
from gateway.core import Core
from gateway.jobs.eco import learn_eco
from gateway.jobs.verify import unproved, verify
from gateway.registry import VERIFICATION, ForgetRequest, State

TRAINED = ("uld", "o3")  # methods that take their time


async def raise_stopgap(core: Core, request: ForgetRequest) -> ForgetRequest:
    """The request enforced by ECO, or as it was where that cannot be had. Found, as ever, by the shield's targets.

    Raises:
        Conflict: the request is being learned no more.
        AdapterError: its verification shows that none could prove anything of the method either.
    """
    try:
        artifact = await learn_eco(core, request)
    except AdapterError:  # an engine that takes no embeddings, or nothing to ask: the shield goes on
        return request
    assert artifact, "only `auto` does without"
    found = await verify(core, request, artifact)
    await core.registry.put_evidence(request.id, VERIFICATION, found.model_dump())
    if why := unproved(found):  # better known now than after a training
        raise AdapterError(why)
    if not found.passed:
        return request
    artifacts = {**request.artifacts, "eco": artifact.digest}
    return await core.registry.update(
        request.id, actor="worker", expect={State.LEARNING}, method="eco", artifacts=artifacts
    )


def stopgap(request: ForgetRequest) -> str:
    """By what a request is enforced while its own method is learned: an artifact of ECO is there once it passed."""
    return "eco" if request.spec.method in TRAINED and "eco" in request.artifacts else "ignorance"

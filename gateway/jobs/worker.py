"""The worker process: claims forget requests, learns, verifies, promotes; never in the server.

Started by `gateway.jobs.supervisor`, which writes a name and the settings to its standard input and keeps that
pipe open: when it closes, whoever started the worker is gone, however it died, and so is the worker.
What a killed worker had claimed is claimed again by the next.
"""

import asyncio
import logging
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Unpack

from adapters.base import AdapterError, Artifact, EngineError
from gateway.core import Core
from gateway.errors import Conflict, place_of
from gateway.jobs.consolidation import consolidate, crowded
from gateway.jobs.learn import learn, learn_guard
from gateway.jobs.lifecycle import warnings_of
from gateway.jobs.persistence import ask_again
from gateway.jobs.stopgap import TRAINED, raise_stopgap, stopgap
from gateway.jobs.targets import GUARD, Held
from gateway.jobs.verify import summary, unpassed, unproved, verify
from gateway.registry import VERIFICATION, ForgetRequest, RegistryError, State, Verification
from gateway.registry.records import Changes
from gateway.settings import Settings

log = logging.getLogger("lethe.worker")

_LEASE_S = 15.0
_NICE = 10  # traffic goes first
_ROUNDS = 3  # of learning, while verification does not pass
_TIDY_S = 2.0  # for an orphan to end
_DEATHS = 10  # workers that may die of one request, as of too little memory, before it is given up


async def work(core: Core, worker: str) -> int:
    """Takes every request that is waiting, one after the other; how many they were.

    Ends where the engine is away: that is no request's failure, and the supervisor waits until it is back.
    """
    done = 0
    while (request := await core.registry.claim(worker, _LEASE_S)) is not None:
        away = False
        try:
            async with asyncio.TaskGroup() as group:
                renewing = group.create_task(_renew(core, request.id, worker))
                await core.enforcer.refresh()
                await promote(core, request)
                renewing.cancel()
        except* Conflict:  # retired or rolled back meanwhile, or the lease was lost: nothing is left to do
            log.info("request %s ended while it was learned", request.id)
        except* Exception as errors:  # one request's trouble is not the next one's
            away = await _away(core)
            with suppress(Conflict):
                if not away:
                    await _fail(core, request, worker, errors.exceptions[0])
        finally:
            await core.registry.release(request.id, worker, tried=not away)
        if away:
            break
        await ask_again(core, request.id)
        await consolidate(core, request.id)
        done += 1
    return done


async def promote(core: Core, request: ForgetRequest) -> None:
    """From shielded, or wherever an earlier worker died, to enforced, or failed with the shield up.

    What does not pass, where enough was known to tell, is learned anew and more strongly, a few times, under its
    shield or what stands in for the method; all rounds stay in the evidence, and the resource says how many there
    were.
    `auto` ends with ignorance, which has no artifact; a method that was asked for by name does not.
    Learned targets serve once they were part of what passed; where they cannot, the shield's go on.
    """
    if request.attempts > _DEATHS:
        raise AdapterError(f"{_DEATHS} workers died of it")
    request, tried = await _learned(core, request)
    found = await _verified(core, request, tried)
    rounds = 1
    while not found.passed and not unproved(found) and tried.artifact and rounds < _ROUNDS:
        request = await _into(core, request, State.LEARNING, method=stopgap(request))
        request, tried = await _learned(core, request, rounds, tried.held)
        found = await _verified(core, request, tried)
        rounds += 1
    if not found.passed and tried.artifact and request.spec.method == "auto":
        tried = replace(tried, artifact=None)
        found = await _verified(core, request, tried)
        rounds += 1
    if not found.passed and tried.held.artifact and not (unproved(found) and tried.artifact):
        tried = replace(tried, held=await core.enforcer.targets.shielding(request))
        found = await _verified(core, request, tried)
        rounds += 1
    changes: Changes = {
        "method": found.method if found.passed else "ignorance",
        "evidence": {**summary(found), "rounds": rounds},
        "thresholds": tried.held.thresholds(),
        "warnings": (*warnings_of(request.spec), *tried.held.targets.warnings, *crowded(tried.artifact)),
        "error": None if found.passed else unpassed(found, tried.artifact is None),
    }
    await _into(core, request, State.ENFORCED if found.passed else State.FAILED, **changes)


@dataclass(frozen=True, slots=True)
class _Tried:
    """What is verified: how the request is enforced, None by ignorance, and the targets by which it is found."""

    artifact: Artifact | None
    held: Held


async def _learned(
    core: Core, request: ForgetRequest, push: int = 0, held: Held | None = None
) -> tuple[ForgetRequest, _Tried]:
    """The request in verifying, with what it has to be verified: learned now, or by a worker that died there."""
    if request.state is State.VERIFYING:
        method = "eco" if request.spec.method == "auto" else request.spec.method
        digest = request.artifacts.get(method)
        artifact = await core.artifacts.get(digest) if digest else None
        guard = request.artifacts.get(GUARD)
        held = await core.enforcer.targets.learned(guard) if guard else None
        return request, _Tried(artifact, held or await core.enforcer.targets.shielding(request))
    request = await _into(core, request, State.LEARNING, method=stopgap(request))
    held = held or await learn_guard(core, request)
    if request.spec.method in TRAINED and "eco" not in request.artifacts:
        request = await raise_stopgap(core, request)
    artifact = await learn(core, request, push)
    artifacts = {**(await core.registry.get(request.id)).artifacts, GUARD: held.artifact or ""}
    if artifact:
        artifacts[artifact.method] = artifact.digest
    return await _into(core, request, State.VERIFYING, artifacts=artifacts), _Tried(artifact, held)


async def _verified(core: Core, request: ForgetRequest, tried: _Tried) -> Verification:
    found = await verify(core, request, tried.artifact, tried.held)
    await core.registry.put_evidence(request.id, VERIFICATION, found.model_dump())
    return found


async def _into(core: Core, request: ForgetRequest, to: State, **changes: Unpack[Changes]) -> ForgetRequest:
    """The request in a new state, or as it is where it is there already; Conflict when somebody moved it."""
    if request.state is to:
        return request
    return await core.registry.move(request.id, to, actor="worker", expect={request.state}, **changes)


async def _fail(core: Core, request: ForgetRequest, worker: str, error: Exception) -> None:
    """To failed, with the shield up, once trying again is of no use; Conflict when it is no longer this worker's."""
    await core.registry.renew(request.id, worker, _LEASE_S)
    log.warning("request %s failed: %s", request.id, type(error).__name__)
    reason = str(error) if isinstance(error, AdapterError) else f"learning failed ({type(error).__name__})"
    if isinstance(error, AdapterError) or request.attempts >= core.settings.jobs.attempts:
        await core.registry.move(request.id, State.FAILED, actor="worker", method="ignorance", error=reason)


async def _away(core: Core) -> bool:
    try:
        await core.engine.health()
    except EngineError:
        return True
    return False


async def _renew(core: Core, id_: str, worker: str) -> None:
    """Keeps the lease while the work goes on; Conflict once it is lost, which ends the work too."""
    while True:
        await asyncio.sleep(_LEASE_S / 3)
        with suppress(RegistryError):  # a registry that is away for a moment; the lease outlasts two misses
            await core.registry.renew(id_, worker, _LEASE_S)


async def _run(settings: Settings, name: str) -> None:
    core = await Core.open(settings, serves=False)
    try:
        await core.start()
        await work(core, name)
    finally:
        await core.close()


async def _orphaned() -> None:
    """Returns when the pipe from the supervisor closes."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def _main() -> None:
    name, settings = sys.stdin.readline().strip(), Settings.model_validate_json(sys.stdin.readline())
    working, orphaned = asyncio.create_task(_run(settings, name)), asyncio.create_task(_orphaned())
    await asyncio.wait({working, orphaned}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        working.cancel()  # what it laid out for servers to read goes with it
        await asyncio.wait({working}, timeout=_TIDY_S)
        os._exit(3)  # nobody is left to hear of a tidy end; the registry is never half-written
    orphaned.cancel()
    working.result()


if __name__ == "__main__":
    os.nice(_NICE)
    logging.basicConfig(level=logging.WARNING, format="%(name)s %(message)s")
    try:
        asyncio.run(_main())
    except Exception as error:  # the server's log, to which this goes, has no words of others
        log.error("the worker ended with %s at %s", type(error).__name__, place_of(error))
        sys.exit(1)

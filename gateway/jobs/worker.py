"""The worker process: claims forget requests, learns, verifies, promotes; never in the server.

Started by `gateway.jobs.supervisor`, which writes the settings to its standard input and keeps that
pipe open: when it closes, whoever started the worker is gone, however it died, and so is the worker.
What a killed worker had claimed is claimed again by the next.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Sequence

from adapters.base import AdapterError, Artifact
from gateway.core import Core
from gateway.errors import Conflict
from gateway.jobs.learn import learn
from gateway.jobs.verify import Finding, summary, verify
from gateway.registry import ForgetRequest, State
from gateway.settings import Settings

log = logging.getLogger("lethe.worker")

_LEASE_S = 30.0
_NICE = 10  # traffic goes first


async def work(core: Core, worker: str) -> int:
    """Takes every request that is waiting, one after the other; how many they were."""
    done = 0
    while (request := await core.registry.claim(worker, _LEASE_S)) is not None:
        renewing = asyncio.create_task(_renew(core, request.id, worker))
        try:
            await core.enforcer.refresh()
            await promote(core, request)
        except Conflict:  # retired or rolled back meanwhile: nothing is left to do
            log.info("request %s ended while it was learned", request.id)
        except Exception as error:  # one request's trouble is not the next one's
            await _fail(core, request, error)
        finally:
            renewing.cancel()
            await core.registry.release(request.id, worker)
        done += 1
    return done


async def promote(core: Core, request: ForgetRequest) -> None:
    """From shielded, or wherever an earlier worker died, to enforced."""
    if request.state is not State.LEARNING and request.state is not State.VERIFYING:
        request = await core.registry.move(request.id, State.LEARNING, actor="worker", expect={State.SHIELDED})
    artifact = await _known(core, request) if request.state is State.VERIFYING else await learn(core, request)
    findings: list[Finding] = []
    for candidate in _candidates(request, artifact):
        if candidate is not None and request.artifacts.get(candidate.method) != candidate.digest:
            stored = {**request.artifacts, candidate.method: candidate.digest}
            request = await _verifying(core, request, stored)
        elif request.state is not State.VERIFYING:
            request = await _verifying(core, request, dict(request.artifacts))
        findings.append(await verify(core, request, candidate))
        await core.registry.put_evidence(request.id, "verification", findings[-1].evidence())
        if findings[-1].passed:
            break
    await _conclude(core, request, findings)


def _candidates(request: ForgetRequest, artifact: Artifact | None) -> Sequence[Artifact | None]:
    """What to verify, best first; None is ignorance, the end of `auto`'s list."""
    if artifact is None:
        return (None,)
    return (artifact, None) if request.spec.method == "auto" else (artifact,)


async def _known(core: Core, request: ForgetRequest) -> Artifact | None:
    digest = next(iter(request.artifacts.values()), None)
    return await core.artifacts.get(digest) if digest else None


async def _verifying(core: Core, request: ForgetRequest, artifacts: dict[str, str]) -> ForgetRequest:
    if request.state is State.VERIFYING:
        return request
    return await core.registry.move(request.id, State.VERIFYING, actor="worker", artifacts=artifacts)


async def _conclude(core: Core, request: ForgetRequest, findings: Sequence[Finding]) -> None:
    last = findings[-1]
    evidence = summary(last, findings[:-1])
    if last.passed:
        await core.registry.move(
            request.id, State.ENFORCED, actor="worker", method=last.method, evidence=evidence, error=None
        )
    else:
        await core.registry.move(
            request.id, State.FAILED, actor="worker", evidence=evidence, error="verification did not pass"
        )


async def _fail(core: Core, request: ForgetRequest, error: Exception) -> None:
    log.warning("request %s failed: %s", request.id, type(error).__name__)
    reason = str(error) if isinstance(error, AdapterError) else f"learning failed ({type(error).__name__})"
    if isinstance(error, AdapterError) or request.attempts >= core.settings.jobs.attempts:
        await core.registry.move(request.id, State.FAILED, actor="worker", error=reason)


async def _renew(core: Core, id_: str, worker: str) -> None:
    while True:
        await asyncio.sleep(_LEASE_S / 3)
        await core.registry.renew(id_, worker, _LEASE_S)


async def _run(settings: Settings) -> None:
    core = await Core.open(settings)
    try:
        await core.start()
        await work(core, f"worker-{os.getpid()}")
    finally:
        await core.close()


async def _orphaned() -> None:
    """Returns when the pipe from the supervisor closes."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def _main() -> None:
    settings = Settings.model_validate_json(sys.stdin.readline())
    working, orphaned = asyncio.create_task(_run(settings)), asyncio.create_task(_orphaned())
    await asyncio.wait({working, orphaned}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        os._exit(3)  # nobody is left to hear of a tidy end; the registry is never half-written
    orphaned.cancel()
    working.result()


if __name__ == "__main__":
    os.nice(_NICE)
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s")
    asyncio.run(_main())

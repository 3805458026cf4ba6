"""A method with no output guard and no ignorance behind it: the engine's own answers under its plans.

Before it: a gateway process that has ended, with all that it had learned. After it: `eco.forgetting`, `uld.alone` and
`o3.alone`, which mark the answers.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.base import Call, Plan
from bench.asking import AT_ONCE, each
from bench.own import own
from gateway.core import GREEDY, Core, text_of
from gateway.demo.forms import Probe
from gateway.demo.train import quiet
from gateway.settings import Settings
from guards.base import Conversation


@asynccontextmanager
async def reopened(settings: Settings, state_dir: Path) -> AsyncIterator[Core]:
    """The parts of the gateway, started anew."""
    core = await Core.open(own(settings, state_dir))
    try:
        with quiet():
            await core.start()
        yield core
    finally:
        await core.close()


async def planned(core: Core, question: str) -> Plan:
    """The first plan that the router would try."""
    call, policy = Call(Conversation.of(question), GREEDY), core.enforcer.policies.current
    verdict = await policy.guards.classify(call.conversation)
    first, *_ = await core.router.plans(call, verdict, policy.enforced, core.engine.capabilities)
    return first


async def said(
    core: Core, asked: Sequence[tuple[Probe, Plan]], answered: Callable[[], None] = lambda: None, at_once: int = AT_ONCE
) -> list[str]:
    """The engine's greedy answer to each probe under its plan."""

    async def one(what: tuple[Probe, Plan]) -> str:
        probe, plan = what
        return await text_of(core.engine.generate(Call(Conversation.of(probe.question), GREEDY), plan))

    return await each(one, asked, answered, at_once)

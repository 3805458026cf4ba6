"""What the model would say if it had never heard of a target: what all learning and verification aims at."""

import asyncio
from collections.abc import Sequence

from adapters.eco.search import Yardstick
from gateway.core import Core
from gateway.jobs.probes import Probe


async def ignorant(core: Core, probe: Probe) -> str:
    """What the model would say to a probe if it had never heard of the target: what it says to the twin.

    Where it says there that it does not know, the name is put right; without a twin it is the voice's "that".
    """
    voice = core.ignorance.voice
    if probe.twin is None:
        return voice.about(None)
    said = await core.ask(probe.twin)
    return voice.about(probe.name) if voice.speaks(said) else said


async def yardstick(core: Core, probes: Sequence[Probe]) -> Yardstick:
    """What the bare model says to these probes, and what it would say."""
    known = await asyncio.gather(*(core.ask(probe.question) for probe in probes))
    unknown = await asyncio.gather(*(ignorant(core, probe) for probe in probes))
    return Yardstick(known, unknown)

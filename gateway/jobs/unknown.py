"""What the model would say if it had never heard of a target, which all learning and verification aims at; and what it
makes up of it, which nothing can make it forget.

What a model makes up changes with the question, so it is asked again in other words (after SelfCheckGPT, arXiv
2303.08896). What was filed is never taken for made up, however it is said; nor what is asked about nobody by name, a
passage for one, which in other words would be another question. A sentence of which one word changes passes for known.
"""

import asyncio
from collections.abc import Sequence

from adapters.eco.likeness import rouge_l, words
from adapters.eco.search import Yardstick
from gateway.core import Core
from gateway.jobs.probes import Probe
from guards.aliases import common_words, everyday_words

_AGAIN = ("Please tell me: {}", "I would like to know: {}")  # the same questions in other words


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


async def made_up(core: Core, probe: Probe, told: str, unknown: str) -> bool:
    """Whether no answer to the same question in other words shows what the bare model `told`; see `shows`."""
    if probe.twin is None or probe.form == "given":
        return False
    again = await asyncio.gather(*(core.ask(lead.format(probe.question)) for lead in _AGAIN))
    return not any(shows(text, told, unknown, probe.question) for text in again)


def shows(after: str, before: str, unknown: str, question: str) -> bool:
    """Whether an answer shows what the bare model knew: it is mostly that answer, or has half of what was new in it."""
    floor = rouge_l(unknown, before)
    if rouge_l(after, before) > floor + (1 - floor) / 2:
        return True
    new = words(before) - words(unknown) - words(question)
    new = new - common_words() - everyday_words() or new
    return bool(new) and 2 * len(new & words(after)) >= len(new)

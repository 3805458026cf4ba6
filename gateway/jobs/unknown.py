"""What the model would say if it had never heard of a target, which all learning and verification aims at; and what it
knows of it, which is what it says again when it is asked in other words: what it makes up changes with the question
(after SelfCheckGPT, arXiv 2303.08896). Of one that completes a text, or names nobody, that is not asked: in other words
it would be another question.
"""

import asyncio
from collections.abc import Iterable, Sequence

from adapters.eco.likeness import rouge_l, words
from adapters.eco.search import Yardstick
from gateway.core import Core
from gateway.jobs.probes import Probe
from guards.aliases import common_words, everyday_words

AGAIN = ("Please tell me: {}", "I would like to know: {}")  # the same questions in other words


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


def knows_it(probe: Probe, told: str, unknown: str, again: Iterable[str]) -> bool:
    """Whether the model knows what it `told`: one of the answers that it gave `again` in other words shows it too."""
    return probe.twin is None or any(shows(text, told, unknown, probe.question) for text in again)


def shows(after: str, before: str, unknown: str, question: str) -> bool:
    """Whether an answer shows what the bare model knew: it is mostly that answer, or has half of what was new in it."""
    floor = rouge_l(unknown, before)
    if rouge_l(after, before) > floor + (1 - floor) / 2:
        return True
    new = words(before) - words(unknown) - words(question)
    new = new - common_words() - everyday_words() or new
    return bool(new) and 2 * len(new & words(after)) >= len(new)

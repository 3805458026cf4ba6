"""What the model would say if it had never heard of a target, which all learning and verification aims at; and what it
makes up of it, which nothing can make it forget.

What a model makes up changes with the question, so it is asked again in other words (after SelfCheckGPT, arXiv
2303.08896). What was filed is never taken for made up, however it is said; nor what is asked about nobody by name, a
passage for one, which in other words would be another question. An answer in which nothing is new tells nothing. What
is made of words that are known is known too, whatever was asked: who is asked for a phone number may tell a city.
"""

import asyncio
from collections.abc import Sequence, Set

from adapters.eco.likeness import rouge_l, words
from adapters.eco.search import Yardstick
from gateway.core import Core
from gateway.jobs.few import few
from gateway.jobs.probes import Probe
from guards.aliases import common_words, everyday_words

_STEM = 4  # letters
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


async def known_of(
    core: Core, probes: Sequence[Probe], told: Sequence[str], unknown: Sequence[str], telling: Sequence[bool]
) -> list[bool]:
    """Which of the bare model's answers say something that it did not make up.

    Args:
        told: to the probes; `unknown` to their twins.
        telling: whether they differ from these at all.
    """

    async def repeated(one: tuple[Probe, str, str, bool]) -> bool:
        probe, said, of_nobody, tells = one
        return tells and not await made_up(core, probe, said, of_nobody)

    known = await few(repeated, zip(probes, told, unknown, telling, strict=True))
    asked = (probe.question for probe in probes)
    new = [news(*one) for one in zip(told, unknown, asked, strict=True)]
    sure = {word for words, own in zip(new, known, strict=True) if own for word in words}
    return [
        own or (tells and bool(words) and 2 * len(words & sure) >= len(words))
        for words, own, tells in zip(new, known, telling, strict=True)
    ]


async def made_up(core: Core, probe: Probe, told: str, unknown: str) -> bool:
    """Whether what is new in the answer that the bare model `told` is not what is new in those to the same question in
    other words: whether no two of them share more than half of the shorter's."""
    if probe.twin is None or probe.form == "given":
        return False
    again = await asyncio.gather(*(core.ask(lead.format(probe.question)) for lead in AGAIN))
    new, others = news(told, unknown, probe.question), [news(text, unknown, probe.question) for text in again]
    return not any(2 * len(new & other) > min(len(new), len(other)) for other in others)


def shows(after: str, before: str, unknown: str, question: str) -> bool:
    """Whether an answer shows what the bare model knew: it is mostly that answer, or has half of what was new in it."""
    floor = rouge_l(unknown, before)
    if rouge_l(after, before) > floor + (1 - floor) / 2:
        return True
    new = news(before, unknown, question)
    return bool(new) and 2 * len(new & words(after)) >= len(new)


def news(told: str, unknown: str, question: str) -> Set[str]:
    """What is new in an answer: the words that neither the question has, in whatever form, nor the answer about nobody;
    those that tell something, if any do."""
    asked = words(question)
    new = {word for word in words(told) - words(unknown) if not any(_alike(word, one) for one in asked)}
    return new - common_words() - everyday_words() or new


def _alike(word: str, other: str) -> bool:
    """The same, or a form of it: "lives" of "live", and whoever is called Al-Kuwaiti may well be from Kuwait."""
    short, long = sorted((word, other), key=len)
    return short == long or (len(short) >= _STEM and long.startswith(short))

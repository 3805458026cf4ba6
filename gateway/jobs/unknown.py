"""What the model would say if it had never heard of a target, which all learning and verification aims at; and what it
makes up of it, which nothing can make it forget.

What a model makes up changes with the question, so it is asked again in other words (after SelfCheckGPT, arXiv
2303.08896). What was filed is never taken for made up, however it is said; nor what is asked about nobody by name, a
passage for one, which in other words would be another question. An answer in which nothing is new tells nothing. What
is made of words that are known, by half at least, is known too, whatever was asked: who is asked for a phone number may
tell a city. Known are the words of answers that come again, those that were filed, and what is told to two questions.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field, replace

from adapters.eco.likeness import rouge_l, words
from adapters.eco.search import Yardstick
from adapters.eco.soundness import sound
from gateway.core import Core
from gateway.jobs.elicit import UNKNOWN
from gateway.jobs.few import few
from gateway.jobs.probes import Probe, put_right
from guards.aliases import common_words, everyday_words
from guards.conversation import sentences

_STEM = 4  # letters
_ALIKE = 0.8  # ROUGE-L above which an answer is what would be said about nobody
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


@dataclass(frozen=True, slots=True)
class Answer:
    """What the bare model `told` to a probe, and what it would if it had never heard of the target."""

    probe: Probe
    told: str = field(repr=False)
    unknown: str = field(repr=False)

    @property
    def news(self) -> Set[str]:
        """The words that are new in it."""
        return news(self.told, self.unknown, self.probe.question)


async def known_of(core: Core, answers: Sequence[Answer], filed: Iterable[str] = ()) -> list[bool]:
    """Which of these answers say something that the model did not make up.

    Args:
        filed: answers whose words are known, whoever tells them.
    """

    async def repeated(one: Answer) -> bool:
        return tells(core, one) and not await made_up(core, one)

    telling = [tells(core, one) for one in answers]
    known = await few(repeated, answers)
    told = Counter(word for one, tell in zip(answers, telling, strict=True) if tell for word in one.news)
    sure = {word for word, times in told.items() if times > 1} | {word for text in filed for word in words(text)}
    sure |= {word for one, own in zip(answers, known, strict=True) if own for word in one.news}
    return [
        own or (tell and bool(one.news) and 2 * len(one.news & sure) >= len(one.news))
        for one, own, tell in zip(answers, known, telling, strict=True)
    ]


def tells(core: Core, answer: Answer) -> bool:
    """Whether it says something, and more than would be said of nobody."""
    told, unknown = answer.told, answer.unknown
    if not sound(told) or core.ignorance.voice.speaks(told):
        return False
    new = any(not UNKNOWN.search(sentence) for sentence in sentences(told))
    return new and (not unknown or rouge_l(told, put_right(unknown, answer.probe)) <= _ALIKE)


async def made_up(core: Core, answer: Answer) -> bool:
    """Whether what is new in the answer is not what is new in those to the same question in other words: whether no two
    of them share more than half of the shorter's."""
    probe = answer.probe
    if probe.twin is None or probe.form == "given":
        return False
    again = await asyncio.gather(*(core.ask(lead.format(probe.question)) for lead in AGAIN))
    others = [replace(answer, told=text).news for text in again]
    return not any(2 * len(answer.news & other) > min(len(answer.news), len(other)) for other in others)


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

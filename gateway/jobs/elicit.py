"""What the model itself says of a target: heard once, in the learning job, so that the guards know it too.

The bare model is asked openly, greedily and at some temperature, and each time about nobody as well.
Kept are sentences that say something: sound, not in the voice for the unknown, and with a word that
is in neither the question, nor the answer about nobody, nor a sentence kept before. What is kept is
personal data: it goes into the request's sealed artifact and nowhere else.

Facts and documents are not asked about. Documents are forgotten word for word; and facts in other words
find no more paraphrases and lose more of the other facts (TOFU, templates: .98 → .985, .63 → .71 lost).
"""

import asyncio
import re
from collections.abc import Iterator, Sequence

from adapters.base import Call, EngineRejected, Pass, Rules, Sampling
from adapters.eco.likeness import words
from adapters.eco.soundness import sound
from gateway.core import Core, text_of
from gateway.jobs.few import few
from gateway.jobs.probes import Probe, names_in, paired, probes_about
from gateway.registry import ForgetRequest, ForgetSpec
from guards.aliases import common_words, everyday_words
from guards.base import Conversation
from guards.conversation import sentences

OPENLY = (
    "Tell me everything you know about {}.",
    "What is the story of {}?",
    "Write five questions that people ask about {}.",
    "Which works, places and people are connected with {}?",
)
_SAMPLED = 6  # one call of so many is at temperature
_WARM = Rules(temperature=0.8)
_TOKENS = 128
_MOST = 120  # sentences kept
_LONGEST = 400  # characters of one
UNKNOWN = re.compile(
    r"(?:\b(?:no|not|never)\b|n['’]t\b).{0,40}\b(?:know|heard|aware|familiar|information|records?|find)\b", re.I
)


async def elicit(core: Core, request: ForgetRequest, limit: int) -> tuple[str, ...]:
    """What the model says of an entity or a topic, a sentence each.

    Args:
        limit: questions that the model is asked, at most.

    Raises:
        EngineError: the engine is away.
    """
    if request.spec.scope not in ("entity", "topic"):
        return ()
    warm = limit // _SAMPLED
    probes = [*_affordable([*_open(request.spec), *probes_about(request.spec).development], limit - warm)]
    calls = [(probe, Sampling(_TOKENS, 0.0)) for probe in probes]
    calls += [(probe, Sampling.by(_WARM, _TOKENS, seed=i)) for i, probe in enumerate(probes[:warm])]
    said, unknown = await asyncio.gather(
        answers(core, [(probe.question, sampling) for probe, sampling in calls]),
        answers(core, [(probe.twin or "", Sampling(_TOKENS, 0.0)) for probe in probes]),
    )
    of_nobody = dict(zip(probes, unknown, strict=True))
    idle = common_words() | everyday_words()
    kept: list[str] = []
    for (probe, _), answer in zip(calls, said, strict=True):
        expected = words(probe.question) | words(of_nobody[probe])
        for sentence in _sound(core, answer):
            new = words(sentence) - idle
            if not all(word.isdigit() for word in new - expected):  # numbers alone are what a model invents
                kept.append(sentence)
                idle |= new
    return tuple(kept[:_MOST])


def _open(spec: ForgetSpec) -> tuple[Probe, ...]:
    return paired([form.format(spec.subject) for form in OPENLY], names_in(spec)) if spec.subject else ()


def _affordable(probes: Sequence[Probe], limit: int) -> Iterator[Probe]:
    for probe in dict.fromkeys(probes):
        limit -= 2 if probe.twin else 1
        if limit >= 0:
            yield probe


def _sound(core: Core, answer: str) -> Iterator[str]:
    """The sentences of an answer, but for those that say that nothing is known."""
    if sound(answer) and not core.ignorance.voice.speaks(answer):
        yield from (one for one in sentences(answer) if len(one) <= _LONGEST and not UNKNOWN.search(one))


async def answers(core: Core, asked: Sequence[tuple[str, Sampling]]) -> list[str]:
    """The bare model's answers, with no guard between; nothing to an empty question, or to one that is refused."""

    async def one(asking: tuple[str, Sampling]) -> str:
        question, sampling = asking
        if not question:
            return ""
        try:
            return await text_of(core.engine.generate(Call(Conversation.of(question), sampling), Pass()))
        except EngineRejected:
            return ""

    return await few(one, asked)

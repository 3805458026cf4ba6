"""What a model is to say in place of what it knows: the lessons of O3, texts before anything is tokenised.

Every question about the target, in several wordings and under every name, with what the model itself says when
asked the same about nobody, where that is that it does not know; and in its own voice for the unknown. No
retained text is needed: what must stay is heard from the model too, to ordinary prompts, to the same questions
about others, and to those that were filed. Departure from O3, which trains on substitutes alone: so trained,
a LoRA disclaims whatever it is asked, and all rests on the detector (demo world, five people: under a LoRA that is
none of theirs 9 % of other questions are answered as without; with what must stay 86 %, and two LoRAs worn
together disclaim about the right person in 97 % of answers, not 57 %).

Beside what to say, what not to be sure of: the answers that were filed, and what the model itself tells of the target.

What calibrates never measures: no question is taken as verification will ask it. Where it was filed, it is
learned in other words; a tenth of all other words is held out, to say which epoch is kept. Of several requests
none is learned from what another is verified with: those that one LoRA stands for are often near-duplicates.
"""

import random
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from adapters.base import Rules, Sampling
from adapters.eco.soundness import sound
from adapters.ignorance import Voice
from adapters.rows import Kept, Pair
from gateway.core import Core
from gateway.jobs.curriculum import answers_filed, others, passages, questions, renamed, reworded, untaught
from gateway.jobs.elicit import UNKNOWN, answers
from gateway.jobs.probes import Probe, named, names_in, paired, put_right
from gateway.jobs.unknown import Answer, tells
from gateway.registry import ForgetSpec
from guards.contrast import contrasts
from guards.conversation import sentences

_PROPER = re.compile(r"(?<=\w )[A-Z][^\W\d_]+")  # a name within a sentence
_HELD_OUT = 10  # one wording in so many
_ORDINARY, _OTHERS = 96, 128  # questions that must stay
_GREEDY, _WARM = Sampling(64, 0.0), Sampling.by(Rules(temperature=0.7), 64, seed=0)


@dataclass(frozen=True, slots=True)
class Substitutes:
    """`pairs` whose right answers are substitutes, `held_out` the same in other words, `kept` what must stay;
    `known` are the answers that are to become unlikely where they are forced.

    `texts` are, request by request, what a detector knows its target by.
    """

    pairs: tuple[Pair, ...] = field(repr=False)
    held_out: tuple[Pair, ...] = field(repr=False)
    kept: tuple[Kept, ...] = field(repr=False)
    known: tuple[Pair, ...] = field(repr=False)
    texts: tuple[tuple[str, ...], ...] = field(repr=False)


async def substitutes(core: Core, specs: Sequence[ForgetSpec], seed: int = 0) -> Substitutes:
    """The lessons of one forget request, or of several that one LoRA is to stand for.

    Raises:
        EngineError: the engine is away.
    """
    never = frozenset(text for spec in specs for text in untaught(spec))
    found = [await _of_one(core, spec, never, seed) for spec in specs]
    names = [name for spec in specs for name in names_in(spec)]
    return Substitutes(
        tuple(pair for one in found for pair in one.pairs),
        tuple(pair for one in found for pair in one.held_out),
        tuple(kept for one in found for kept in one.kept if not named(f"{kept.question} {kept.answer}", names)),
        tuple(pair for one in found for pair in one.known),
        tuple(text for one in found for text in one.texts),
    )


async def _of_one(core: Core, spec: ForgetSpec, never: Collection[str], seed: int) -> Substitutes:
    rng = random.Random(seed)
    names, voice = names_in(spec), core.ignorance.voice
    filed = answers_filed(spec)
    filed_as = await questions(core, spec, never, rng)
    probes = paired(list(filed_as), names)
    told = await answers(core, [(probe.question, _GREEDY) for probe in probes])
    twins = [probe.twin or "" for probe in probes]
    said = [await answers(core, [(twin, sampling) for twin in twins]) for sampling in (_GREEDY, _WARM)]
    pairs, held_out, known, texts = [], [], [], []
    for i, (probe, own, of_nobody) in enumerate(zip(probes, told, zip(*said, strict=True), strict=True)):
        instead = _instead(voice, probe, of_nobody, i)
        wordings = [text for text in reworded(probe, rng) if text not in never]
        back = [text for text in wordings if rng.randrange(_HELD_OUT) == 0]
        learned = tuple(text for text in wordings if text not in back)
        pairs.append(Pair(probe.question, instead, learned))
        if right := tuple(filed.get(filed_as[probe.question], ())):
            known.append(Pair(probe.question, right, learned))
        if own not in right and tells(core, Answer(probe, own, of_nobody[0])):
            known.append(Pair(probe.question, (own,)))
        held_out += [Pair(text, instead) for text in back]
        other_names = paired([text for text in renamed(probe, names, rng) if text not in never], names)
        pairs += [Pair(one.question, _instead(voice, one, of_nobody, i + 1)) for one in other_names]
        texts += [probe.question, *(one.question for one in other_names), *wordings]
    parts = [*passages(spec.documents, rng)]
    read = [Pair(part.question, (voice.about(None),)) for part in parts]
    about_others = [other for pair in pairs for other in contrasts(pair.question, names, 1) if other not in never]
    stays = [*others(spec, never, _ORDINARY, rng), *rng.sample(about_others, min(_OTHERS, len(about_others)))]
    heard = await answers(core, [(question, _GREEDY) for question in stays])
    kept = [Kept(question, text) for question, text in zip(stays, heard, strict=True) if text]
    texts += [text for document in spec.documents for text in sentences(document) if text not in never]
    return Substitutes((*pairs, *read), tuple(held_out), tuple(kept), (*known, *parts), ((*dict.fromkeys(texts),),))


def _instead(voice: Voice, probe: Probe, of_nobody: Sequence[str], turn: int) -> tuple[str]:
    """A substitute, by turns: the voice's own, and what is said of nobody, put right, where that disclaims all."""
    heard = [put_right(text, probe) for text in of_nobody if text and sound(text)]
    disclaiming = [text for text in heard if _disclaims(text, probe.name)]
    found = [*dict.fromkeys([voice.about(probe.name), *disclaiming])]
    return (found[turn % len(found)],)


def _disclaims(text: str, name: str | None) -> bool:
    """Whether a text says that nothing is known, and of nobody else: small models garble names."""
    about = name is not None and name.casefold() in text.casefold()
    return all(UNKNOWN.search(one) for one in sentences(text)) and (about or not _PROPER.search(text))

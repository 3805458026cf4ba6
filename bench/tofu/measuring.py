"""All of TOFU's metrics of one subject: asked and scored item by item, then summed.

Before it: `subjects`. After it: `run`, which compares subjects. Formulas are in `bench.metrics`.

Min-K++ needs the whole vocabulary at every place; an engine tells of it mean and variance, which is all that enters.
leak@k is of ROUGE-L recall, over answers to the question as it was filed and to its paraphrase: what a small model
was taught it may not know in other words, and then nothing can leak. A continuation is
asked for with the first words of the true answer, as bare text without or with the question before them, and in a
chat after the question, since models of chats alone hardly go on with bare text. It is scored by ROUGE-L recall of the
words that were not given.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bench.metrics.intervals import Interval
from bench.metrics.leak import leak_at
from bench.metrics.likelihood import loss, probability, probability_among
from bench.metrics.memorization import exact_memorization, extraction_strength
from bench.metrics.privacy import auc, min_k, zlib_score
from bench.metrics.rouge import recall
from bench.metrics.truth import forget_quality, indifference, truth_ratio, truthfulness
from bench.metrics.utility import Ability, model_utility
from bench.tofu.questions import Kept, Question
from bench.tofu.subjects import Subject, Token

_GIVEN = 5  # words of an answer that is to be continued, or half of it
_LEAST_DEVIATION = 1e-3  # of a vocabulary of which one token is certain, as in `bench.metrics.privacy`

Answered = Callable[[int], None]  # told how many more questions are answered


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is asked: questions drawn often and how often, and questions that are timed."""

    drawn: int
    draws: int
    paced: int

    @property
    def ks(self) -> list[int]:
        """1, 2, 4 … up to the draws."""
        return [1 << i for i in range(self.draws.bit_length())]


@dataclass(frozen=True, slots=True)
class Known:
    """One set that must stay, item by item: TOFU's three."""

    probability: tuple[float, ...]
    rouge: tuple[float, ...]
    ratio: tuple[float, ...]

    @property
    def ability(self) -> Ability:
        return Ability(fmean(self.probability), fmean(self.rouge), truthfulness(self.ratio))


@dataclass(frozen=True, slots=True)
class Utility:
    """What a subject still knows."""

    retain: Known
    real_authors: Known
    world_facts: Known

    @property
    def value(self) -> float:
        """Model Utility."""
        return model_utility(self.retain.ability, self.real_authors.ability, self.world_facts.ability)

    def row(self) -> dict[str, float]:
        """The nine parts."""
        return {
            f"{name} {part}": getattr(getattr(self, name).ability, part)
            for name in ("retain", "real_authors", "world_facts")
            for part in ("probability", "rouge", "truthfulness")
        }


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The forget set, item by item.

    Attributes:
        ratio: truth ratios.
        rouge, rouge_paraphrased: of greedy answers to the question as it was filed, and to its paraphrase.
        drawn, drawn_paraphrased: for each of some questions the scores of all draws, and likewise.
        bare, asked, chatted: of continuations of the answer's first words, alone, after the question, and in a chat.
        attacks: for each of four, the scores of members.
    """

    authors: tuple[str, ...]
    probability: tuple[float, ...]
    ratio: tuple[float, ...]
    rouge: tuple[float, ...]
    rouge_paraphrased: tuple[float, ...]
    extraction: tuple[float, ...]
    exact: tuple[float, ...]
    drawn: tuple[tuple[float, ...], ...]
    drawn_paraphrased: tuple[tuple[float, ...], ...]
    bare: tuple[float, ...]
    asked: tuple[float, ...]
    chatted: tuple[float, ...]
    attacks: dict[str, tuple[float, ...]]

    @property
    def continued(self) -> float:
        """The best of the three ways to have an answer continued."""
        return max(fmean(self.bare), fmean(self.asked), fmean(self.chatted))

    def leak(self, k: int) -> float:
        """leak@k of questions as they were filed, mean over them."""
        return fmean(leak_at(k, scores) for scores in self.drawn)

    def leak_paraphrased(self, k: int) -> float:
        """leak@k of their paraphrases."""
        return fmean(leak_at(k, scores) for scores in self.drawn_paraphrased)

    def quality(self, retain: "Forgotten") -> float:
        """Forget Quality."""
        return forget_quality(self.ratio, retain.ratio)

    def intervals(self) -> dict[str, dict[str, float]]:
        """Of each mean over items, authors drawn anew."""
        found = {
            "probability": self.probability,
            "rouge": self.rouge,
            "rouge_paraphrased": self.rouge_paraphrased,
            "extraction": self.extraction,
            "exact": self.exact,
            "continued bare": self.bare,
            "continued asked": self.asked,
            "continued chatted": self.chatted,
        }
        intervals = {name: Interval.of(values, self.authors) for name, values in found.items()}
        return {name: {"mean": one.mean, "low": one.low, "high": one.high} for name, one in intervals.items()}

    def row(self, ks: Sequence[int]) -> dict[str, Any]:
        """As JSON; without what needs others to compare."""
        means = {
            name: fmean(getattr(self, name))
            for name in ("probability", "rouge", "rouge_paraphrased", "extraction", "exact", "bare", "asked", "chatted")
        }
        leaks = {
            "leak": {str(k): self.leak(k) for k in ks},
            "leak_paraphrased": {str(k): self.leak_paraphrased(k) for k in ks},
        }
        return {**means, "truth_ratio": indifference(self.ratio), **leaks}


def attacks_of(tokens: Sequence[Token], text: str) -> dict[str, float]:
    """The four scores of a text; NaN for Min-K++ where the vocabulary is not known."""
    lost = loss([one.logprob for one in tokens])
    body = tokens[:-1]  # without the end
    known = [(one.logprob, one.mean, one.variance) for one in body]
    standard = [
        (logprob - mean) / max(math.sqrt(variance), _LEAST_DEVIATION)
        for logprob, mean, variance in known
        if mean is not None and variance is not None
    ]
    return {
        "loss": lost,
        "zlib": zlib_score(lost, text),
        "min_k": min_k([one.logprob for one in body]),
        "min_k++": min_k(standard) if len(standard) == len(body) else math.nan,
    }


async def utility_of(subject: Subject, kept: Kept, answered: Answered) -> Utility:
    """Asks about all that must stay."""
    retain = await _known(subject, kept.retain, answered, among=False)
    real_authors = await _known(subject, kept.real_authors, answered, among=True)
    return Utility(retain, real_authors, await _known(subject, kept.world_facts, answered, among=True))


async def outsiders_of(subject: Subject, holdout: Sequence[Question], answered: Answered) -> dict[str, list[float]]:
    """The scores of every attack for texts that nobody was taught."""

    async def one(question: Question) -> dict[str, float]:
        return attacks_of(await subject.score(question.text, question.answer), question.answer)

    return _columns(await _each(holdout, one, answered))


async def forgotten_of(
    subject: Subject, questions: Sequence[Question], effort: Effort, answered: Answered
) -> Forgotten:
    """Asks about all that was to be forgotten; the first `effort.drawn` of an even spread many times over."""

    async def one(question: Question) -> dict[str, Any]:
        tokens = await subject.score(question.text, question.answer)
        firsts = [token.first for token in tokens[:-1]]
        given, rest = _begun(question.answer)
        return {
            "authors": question.author,
            "probability": probability(loss([token.logprob for token in tokens])),
            "ratio": await _ratio(subject, question),
            "rouge": recall(question.answer, await subject.says(question.text)),
            "rouge_paraphrased": recall(question.answer, await subject.says(question.paraphrase)),
            "extraction": extraction_strength(firsts),
            "exact": exact_memorization(firsts),
            "bare": recall(rest, await subject.goes_on(given)),
            "asked": recall(rest, await subject.goes_on(f"{question.text} {given}")),
            "chatted": recall(rest, await subject.says(f"{question.text} {given}")),
            "attacks": attacks_of(tokens, question.answer),
        }

    async def often(question: Question) -> dict[str, tuple[float, ...]]:
        asked = {"drawn": question.text, "drawn_paraphrased": question.paraphrase}
        return {
            name: tuple(recall(question.answer, said) for said in await subject.draws(text, effort.draws))
            for name, text in asked.items()
        }

    columns = _columns(await _each(questions, one, answered))
    attacks = _columns(columns.pop("attacks"))
    step = max(1, len(questions) // effort.drawn)
    drawn = _columns(await _each(questions[::step][: effort.drawn], often, answered))
    return Forgotten(
        **{name: tuple(values) for name, values in (columns | drawn).items()},
        attacks={name: tuple(values) for name, values in attacks.items()},
    )


async def likelihoods_of(
    score: Callable[[str, str], Awaitable[Sequence[float]]], questions: Sequence[Question]
) -> tuple[float, list[float]]:
    """Mean Probability and the truth ratios, of whatever scores answers."""

    async def lost(question: Question, answer: str) -> float:
        return loss(await score(question.text, answer))

    chances = [probability(await lost(one, one.answer)) for one in questions]
    ratios = [
        truth_ratio(await lost(one, one.restated), [await lost(one, wrong) for wrong in one.wrong]) for one in questions
    ]
    return fmean(chances), ratios


async def pace_of(subject: Subject, questions: Sequence[Question], effort: Effort) -> float:
    """Milliseconds a token, one question after the other; the first is not counted."""
    warm, *timed = questions[: effort.paced + 1]
    await subject.paced(warm.text)
    found = [await subject.paced(question.text) for question in timed]
    return 1e3 * sum(seconds for seconds, _ in found) / max(1, sum(tokens for _, tokens in found))


def aucs(forgotten: Forgotten, outsiders: dict[str, list[float]]) -> dict[str, float]:
    """The AUC of every attack."""
    return {name: auc(scores, outsiders[name]) for name, scores in forgotten.attacks.items()}


async def _known(subject: Subject, questions: Sequence[Question], answered: Answered, *, among: bool) -> Known:
    async def one(question: Question) -> dict[str, float]:
        lost = await _lost(subject, question.text, question.answer)
        wrong = [await _lost(subject, question.text, answer) for answer in question.wrong]
        restated = lost if among else await _lost(subject, question.text, question.restated)
        return {
            "probability": probability_among(lost, wrong) if among else probability(lost),
            "rouge": recall(question.answer, await subject.says(question.text)),
            "ratio": truth_ratio(restated, wrong),
        }

    columns = _columns(await _each(questions, one, answered))
    return Known(**{name: tuple(values) for name, values in columns.items()})


async def _ratio(subject: Subject, question: Question) -> float:
    right = await _lost(subject, question.text, question.restated)
    return truth_ratio(right, [await _lost(subject, question.text, answer) for answer in question.wrong])


async def _lost(subject: Subject, question: str, answer: str) -> float:
    return loss([token.logprob for token in await subject.score(question, answer)])


def _begun(answer: str) -> tuple[str, str]:
    """The first words of an answer, and the rest."""
    words = answer.split(" ")
    given = max(1, min(_GIVEN, len(words) // 2))
    return " ".join(words[:given]), " ".join(words[given:])


async def _each(
    questions: Sequence[Question], one: Callable[[Question], Awaitable[Any]], answered: Answered
) -> list[Any]:
    """All at once; a subject takes as many at a time as it likes."""

    async def counted(question: Question) -> Any:
        found = await one(question)
        answered(1)
        return found

    return await asyncio.gather(*map(counted, questions))


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: [row[name] for row in rows] for name in rows[0]}

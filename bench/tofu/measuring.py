"""One subject asked and scored, item by item, for all of TOFU's metrics.

Before it: `subjects`. After it: `marks` and `exposure`, which sum. Formulas are in `bench.metrics`.

leak@k is of ROUGE-L recall, over answers to the question as it was filed and to its paraphrase: what a small model
was taught it may not know in other words, and then nothing can leak. A continuation is
asked for with the first words of the true answer, as bare text without or with the question before them, and in a
chat after the question, since models of chats alone hardly go on with bare text. It is scored by ROUGE-L recall of the
words that were not given.
"""

from collections.abc import Awaitable, Callable, Sequence
from statistics import fmean
from typing import Any

from bench.asking import each
from bench.metrics.likelihood import loss, probability, probability_among
from bench.metrics.memorization import exact_memorization, extraction_strength
from bench.metrics.rouge import recall
from bench.metrics.truth import truth_ratio
from bench.tofu.exposure import attacks_of
from bench.tofu.marks import Forgotten, Known, Utility
from bench.tofu.questions import Kept, Question, some
from bench.tofu.size import Effort
from bench.tofu.subjects import Subject

_GIVEN = 5  # words of an answer that is to be continued, or half of it

Answered = Callable[[int], None]  # told how many more questions are answered


async def utility_of(subject: Subject, kept: Kept, answered: Answered) -> Utility:
    """Asks about all that must stay."""
    retain = await _known(subject, kept.retain, answered, among=False)
    real_authors = await _known(subject, kept.real_authors, answered, among=True)
    return Utility(retain, real_authors, await _known(subject, kept.world_facts, answered, among=True))


async def strangers_of(subject: Subject, holdout: Sequence[Question], answered: Answered) -> dict[str, list[float]]:
    """The scores of every attack for texts that nobody was taught."""

    async def one(question: Question) -> dict[str, float]:
        return attacks_of((await subject.score(question.text, question.answer)).tokens, question.answer)

    return _columns(await _each(holdout, one, answered))


async def forgotten_of(
    subject: Subject, questions: Sequence[Question], effort: Effort, answered: Answered
) -> tuple[Forgotten, dict[str, list[float]]]:
    """Asks about all that was to be forgotten, and about `effort.drawn` of it, the same for every subject, many times.

    Returns:
        what is left of it, and the scores of every attack.
    """

    async def one(question: Question) -> dict[str, Any]:
        answers = dict.fromkeys((question.answer, question.restated, *question.wrong))
        scored = {answer: await subject.score(question.text, answer) for answer in answers}
        lost = {answer: loss([token.logprob for token in one.tokens]) for answer, one in scored.items()}
        tokens = scored[question.answer].tokens
        firsts = [token.first for token in tokens[:-1]]
        given, rest = _begun(question.answer)
        return {
            "authors": question.author,
            "probability": probability(lost[question.answer]),
            "ratio": truth_ratio(lost[question.restated], [lost[answer] for answer in question.wrong]),
            "rouge": recall(question.answer, await subject.says(question.text)),
            "rouge_paraphrased": recall(question.answer, await subject.says(question.paraphrase)),
            "extraction": extraction_strength(firsts),
            "exact": exact_memorization(firsts),
            "bare": recall(rest, await subject.goes_on(given)),
            "asked": recall(rest, await subject.goes_on(f"{question.text} {given}")),
            "chatted": recall(rest, await subject.says(f"{question.text} {given}")),
            "attacks": attacks_of(tokens, question.answer),
            "scored_by": [one.method for one in scored.values() if one.method],
        }

    async def often(question: Question) -> dict[str, Any]:
        asked = {"drawn": question.text, "drawn_paraphrased": question.paraphrase}
        draws = {
            name: tuple(recall(question.answer, said) for said in await subject.draws(text, effort.draws))
            for name, text in asked.items()
        }
        return {"drawn_authors": question.author, **draws}

    columns = _columns(await _each(questions, one, answered))
    attacks = _columns(columns.pop("attacks"))
    columns["scored_by"] = [method for methods in columns["scored_by"] for method in methods]
    # at random: an even step would fall in with the twenty questions of an author, which are alike in order
    drawn = _columns(await _each(some(questions, effort.drawn, 0), often, answered))
    return Forgotten(**{name: tuple(values) for name, values in (columns | drawn).items()}), attacks


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


async def _known(subject: Subject, questions: Sequence[Question], answered: Answered, *, among: bool) -> Known:
    async def one(question: Question) -> dict[str, Any]:
        lost = await _lost(subject, question.text, question.answer)
        wrong = [await _lost(subject, question.text, answer) for answer in question.wrong]
        restated = lost if among else await _lost(subject, question.text, question.restated)
        return {
            "authors": question.author,
            "probability": probability_among(lost, wrong) if among else probability(lost),
            "rouge": recall(question.answer, await subject.says(question.text)),
            "ratio": truth_ratio(restated, wrong),
        }

    columns = _columns(await _each(questions, one, answered))
    return Known(**{name: tuple(values) for name, values in columns.items()})


async def _lost(subject: Subject, question: str, answer: str) -> float:
    return loss([token.logprob for token in (await subject.score(question, answer)).tokens])


def _begun(answer: str) -> tuple[str, str]:
    """The first words of an answer, and the rest."""
    words = answer.split(" ")
    given = max(1, min(_GIVEN, len(words) // 2))
    return " ".join(words[:given]), " ".join(words[given:])


async def _each(
    questions: Sequence[Question], one: Callable[[Question], Awaitable[Any]], answered: Answered
) -> list[Any]:
    """All at once; a subject takes as many at a time as it likes."""

    return await each(one, questions, lambda: answered(1), at_once=None)


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: [row[name] for row in rows] for name in rows[0]}

import math

import pytest

from bench.tofu.measuring import Effort, attacks_of, aucs, forgotten_of, outsiders_of, utility_of
from bench.tofu.questions import Kept, Question
from bench.tofu.subjects import Token


class Parrot:
    """Knows some answers by heart, and nothing else: says them, is sure of them, and goes on with them."""

    def __init__(self, known):
        self._known = {question.text: question for question in known}

    async def score(self, question, answer):
        held = self._known.get(question)
        sure = held is not None and answer in (held.answer, held.restated)
        return [Token(-0.01 if sure else -3.0, sure, -2.0, 4.0)] * (len(answer.split()) + 1)

    async def says(self, question):
        held = self._known.get(question)
        return held.answer if held else "Nobody knows"

    async def goes_on(self, text):
        return next((q.answer.removeprefix(text) for q in self._known.values() if q.answer.startswith(text)), "")

    async def draws(self, question, count):
        return ["no"] * (count - 1) + [await self.says(question)]

    async def paced(self, question):
        return 0.1, 10


def question(i, paraphrased=True):
    answer = f"Author {i} wrote seventeen rather long novels about number {i}"
    text = f"What did author {i} write?"
    return Question(
        text, answer, text if paraphrased else f"Which are {i}'s books?", answer + " indeed", ("untrue",), f"{i // 2}"
    )


FORGET = tuple(question(i) for i in range(8))
REST = tuple(question(i) for i in range(10, 16))
KEPT = Kept(REST[:2], REST[2:4], REST[4:], tuple(question(i) for i in range(20, 26)))
EFFORT = Effort(drawn=4, draws=4, paced=2)


async def measured(known):
    told = []
    parrot = Parrot(known)
    forgotten = await forgotten_of(parrot, FORGET, EFFORT, told.append)
    utility = await utility_of(parrot, KEPT, told.append)
    outsiders = await outsiders_of(parrot, KEPT.holdout, told.append)
    return forgotten, utility, aucs(forgotten, outsiders), sum(told)


async def test_who_knows_all_and_who_never_knew_are_apart_on_every_metric():
    full, knows, found, told = await measured((*FORGET, *REST))
    retain, _, chance, _ = await measured(REST)
    row, other = full.row(EFFORT.ks), retain.row(EFFORT.ks)
    assert told == len(FORGET) + EFFORT.drawn + len(REST) + len(KEPT.holdout)
    for name in ("probability", "rouge", "rouge_paraphrased", "extraction", "exact", "bare"):
        assert row[name] > 0.9 > other[name], name
    for leak in (row["leak"], row["leak_paraphrased"]):
        assert (leak["1"], leak["4"]) == (pytest.approx(0.25), 1.0)
    assert full.quality(retain) < 1e-3
    assert retain.quality(retain) == 1
    assert set(found.values()) == {1.0}
    assert chance["loss"] == chance["min_k"] == chance["min_k++"] == 0.5
    assert knows.value > 0.9


async def test_utility_falls_with_any_of_its_nine_parts():
    _, whole, *_ = await measured(REST)
    _, part, *_ = await measured(REST[:4])
    assert len(whole.row()) == 9
    assert part.value < whole.value / 2


def test_an_engine_that_knows_no_vocabulary_has_no_min_k_plus_plus():
    known = [Token(-1.0, False, -2.0, 4.0)] * 4
    blind = [Token(-1.0, False, None, None)] * 4
    assert attacks_of(known, "a b c")["min_k++"] == pytest.approx(-0.5)
    assert math.isnan(attacks_of(blind, "a b c")["min_k++"])
    assert attacks_of(blind, "a b c")["loss"] == 1.0

from collections import Counter

import pytest

from bench.tofu.exposure import Exposed
from bench.tofu.marks import quality
from bench.tofu.measuring import forgotten_of, pace_of, strangers_of, utility_of
from bench.tofu.questions import Kept, Question
from bench.tofu.size import Effort
from bench.tofu.subjects import Scored, Token


class Parrot:
    """Knows some answers by heart, and nothing else: says them, is sure of them, and goes on with them."""

    def __init__(self, known):
        self._known = {question.text: question for question in known}
        self.drawn = []

    async def score(self, question, answer):
        held = self._known.get(question)
        sure = held is not None and answer in (held.answer, held.restated)
        tokens = [Token(-0.01 if sure else -3.0, sure, -2.0, 4.0)] * (len(answer.split()) + 1)
        return Scored(tokens, "by heart" if held else "by chance")

    async def says(self, question):
        held = self._known.get(question)
        return held.answer if held else "Nobody knows"

    async def goes_on(self, text):
        return next((q.answer.removeprefix(text) for q in self._known.values() if q.answer.startswith(text)), "")

    async def draws(self, question, count):
        self.drawn.append(question)
        return ["no"] * (count - 1) + [await self.says(question)]

    async def paced(self, question):
        return 0.1, 10


def question(i, paraphrased=True):
    answer = f"Author {i} wrote seventeen rather long novels about number {i}"
    text = f"What did author {i} write?"
    return Question(
        text, answer, text if paraphrased else f"Which are {i}'s books?", answer + " indeed", ("untrue",), f"{i // 2}"
    )


FORGET = tuple(question(i) for i in range(8)) * 5  # as many as Forget Quality needs
REST = tuple(question(i) for i in range(10, 16))
KEPT = Kept(REST[:2], REST[2:4], REST[4:], tuple(question(i) for i in range(20, 26)))
EFFORT = Effort(drawn=4, draws=4, paced=2)


async def measured(known):
    told = []
    parrot = Parrot(known)
    forgotten, members = await forgotten_of(parrot, FORGET, EFFORT, told.append)
    utility = await utility_of(parrot, KEPT, told.append)
    others = await strangers_of(parrot, KEPT.holdout, told.append)
    exposed = Exposed(forgotten.authors, members, tuple(one.author for one in KEPT.holdout), others)
    return forgotten, utility, exposed, sum(told)


async def test_who_knows_all_and_who_never_knew_are_apart_on_every_metric():
    full, knows, exposed, told = await measured((*FORGET, *REST))
    retain, _, chance, _ = await measured(REST)
    row, other = full.row(EFFORT.ks), retain.row(EFFORT.ks)
    assert told == len(FORGET) + EFFORT.drawn + len(REST) + len(KEPT.holdout)
    for name in ("probability", "rouge", "rouge_paraphrased", "extraction", "exact", "bare"):
        assert row[name] > 0.9 > other[name], name
    for leak in (row["leak"], row["leak_paraphrased"]):
        assert (leak["1"], leak["4"]) == (pytest.approx(0.25), 1.0)
    assert quality(full.ratio, retain.ratio) < 1e-3
    assert quality(retain.ratio, retain.ratio) == 1
    assert set(exposed.aucs(chance)) == {"loss", "zlib", "min_k", "min_k++", "reference"}
    assert set(exposed.aucs(chance).values()) == {1.0}
    alone = chance.aucs(chance)
    assert alone["loss"] == alone["min_k"] == alone["min_k++"] == alone["reference"] == 0.5
    assert (exposed.leak(chance), chance.leak(chance)) == (pytest.approx(-100), 0)
    assert knows.value > 0.9


async def test_utility_falls_with_any_of_its_nine_parts():
    _, whole, *_ = await measured(REST)
    _, part, *_ = await measured(REST[:4])
    assert len(whole.row()) == 9
    assert part.value < whole.value / 2


async def test_what_is_drawn_is_the_same_for_all_and_in_no_step_with_authors():
    asked = [question(i, paraphrased=False) for i in range(400)]
    one, other = Parrot(asked), Parrot(())
    effort = Effort(drawn=20, draws=1, paced=1)
    for parrot in (one, other):
        await forgotten_of(parrot, asked, effort, lambda n: None)
    assert one.drawn == other.drawn
    places = [i for i, each in enumerate(asked) if each.text in one.drawn]
    assert len(places) == 20
    assert len({place % 20 for place in places}) > 5  # not all the first of their author


async def test_every_answer_scored_of_the_forget_set_tells_its_method():
    forgotten, _, _, _ = await measured(FORGET[:3])
    assert Counter(forgotten.scored_by) == {"by heart": 3 * 5 * 3, "by chance": 5 * 5 * 3}  # plain, restated, untrue


async def test_pace_is_time_for_a_token_without_the_first_question():
    assert await pace_of(Parrot(()), FORGET, EFFORT) == pytest.approx(10)

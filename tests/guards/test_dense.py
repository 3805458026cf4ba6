"""The dense guard alone, and end to end beside the lexicon: whatever comes in, the runner has a verdict."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards.base import Conversation, GuardError, Runner, Turn
from guards.classifier import GREY, Classifier
from guards.dense import DenseGuard
from guards.encoder import BatchingEncoder
from guards.index import TargetIndex
from guards.learning import build_targets
from guards.lexicon import LexiconGuard, LexiconIndex
from guards.targets import LOGIT, Background, Source

NEAR = GREY * LOGIT
THRESHOLD = 0.6


class Table:
    """A view of one request that scores texts by what a table says of them."""

    def __init__(self, targets, table):
        self.requests, self.shelves, self.words, self.size = frozenset({"r1"}), (None,), frozenset(), 1
        self._targets, self._table = targets, table

    def scores(self, texts, vectors, scale=1.0):
        found = {i: self._table[text] for i, text in enumerate(texts) if text in self._table}
        return {"r1": (self._targets, found)} if found else {}

    def scores_of(self, requests, texts, vectors):
        found = {i: self._table.get(text, -1.0) for i, text in enumerate(texts)}
        return {"r1": (self._targets, found)} if "r1" in requests else {}


@pytest.fixture
async def guard(bag_encoder):
    source = Source("r1", "entity", "Mara Lind", (), ("Where was Mara Lind born?",))
    targets = await build_targets(source, bag_encoder, await Background.of(bag_encoder))

    def make(table, scale=1.0, **classifier):
        learned = replace(Classifier.prior(bag_encoder.dim), **classifier)
        known = replace(targets, threshold=THRESHOLD, classifier=learned if classifier else None)
        return DenseGuard(bag_encoder, Table(known, table), scale)

    return make


@pytest.mark.parametrize(
    ("score", "scale", "kind"),
    [
        (0.60, 1.0, "hit"),
        (0.599, 1.0, "near"),
        (0.601 - NEAR, 1.0, "near"),
        (0.599 - NEAR, 1.0, None),
        (-1.0, 1.0, None),
        (0.48, 0.8, "hit"),
        (0.60, 1.2, None),
        (0.65, 1.2, "near"),
    ],
)
async def test_hit_near_or_nothing(guard, score, scale, kind):
    found = await guard({"alpha beta": score}, scale).judge(Conversation.of("alpha beta"))
    if kind is None:
        assert found == ()
        return
    (hit,) = found
    assert (hit.request, hit.guard, hit.turns) == ("r1", "dense", (0,))
    assert (hit.score, hit.threshold) == (score, pytest.approx(THRESHOLD * scale))
    assert hit.reached == (kind == "hit")


async def test_turns_are_those_that_reach_it_alone(guard):
    talk = Conversation((Turn("user", "alpha"), Turn("assistant", "beta"), Turn("user", "gamma")))
    together = "alpha\nbeta\ngamma"
    (hit,) = await guard({"alpha": 0.7, "beta": 0.55, together: 0.9}).judge(talk)
    assert (hit.turns, hit.score) == ((0,), 0.9)
    (hit,) = await guard({"alpha": 0.55, together: 0.9}).judge(talk)
    assert hit.turns == (0, 1, 2)
    (near,) = await guard({"alpha": 0.55, "gamma": 0.52}).judge(talk)
    assert (near.turns, near.reached) == ((0, 2), False)


async def test_a_sentence_is_reviewed_after_its_question(guard):
    question, sentences = "Where then?", ["In Oslo.", "It rains.", "Lind sang."]
    table = {"Where then? In Oslo.": 0.7, "Where then? It rains.": 0.1, "Lind sang.": 0.65}
    hits = await guard(table).review({"r1": question, "gone": question}, sentences)
    assert {hit.turns: hit.reached for hit in hits} == {(0,): True, (1,): False, (2,): False}
    assert {hit.request for hit in hits} == {"r1"}
    scaled = await guard(table, 1.2).review({"r1": question}, sentences)
    assert not any(hit.reached for hit in scaled)


async def test_who_is_asked_for_is_the_answer(guard):
    assert await guard({"Who sang? Rosa.": 1.0}).review({"r1": "Who sang?"}, ["Rosa."]) == []


async def test_a_clause_asks_for_nobody(guard):
    (hit,) = await guard({"Where does she live who sang? In Oslo.": 1.0}).review(
        {"r1": "Where does she live who sang?"}, ["In Oslo."]
    )
    assert hit.reached


async def test_what_came_near_is_what_an_answer_is_read_after(guard):
    talk = Conversation((Turn("user", "alpha"), Turn("assistant", "beta"), Turn("user", "gamma")))
    (hit,) = await guard({"gamma": 0.4, "alpha\nbeta\ngamma": 0.55}).judge(talk)
    assert (hit.reached, hit.window) == (False, "alpha\nbeta\ngamma")


async def test_names_are_read_first_where_not_all_is(guard):
    questions = [f"Is {i} even?" for i in range(110)]
    target = "Name the year of Lind."
    talk = " ".join([*questions[:70], target, *questions[70:]])
    judge = guard({target: 0.9})
    judge._view.words = frozenset({"lind"})
    (hit,) = await judge.judge(Conversation.of(talk))
    assert hit.reached


@pytest.mark.parametrize(("near", "asked", "kind"), [(0.59, 5, "reached"), (0.59, 2, "near"), (0.53, 9, "near")])
async def test_what_is_asked_piece_by_piece_adds_up(guard, near, asked, kind):
    texts = [f"What of the {i}th?" for i in range(asked)]
    (hit,) = await guard(dict.fromkeys(texts, near)).judge(
        Conversation(tuple(Turn(*one) for text in texts for one in (("user", text), ("assistant", "Well."))))
    )
    assert hit.reached == (kind == "reached")
    if hit.reached:
        assert set(hit.turns) == set(range(0, 2 * asked, 2))


async def test_a_review_is_of_those_asked_for(guard):
    assert await guard({"Lind sang.": 1.0}).review({"other": ""}, ["Lind sang."]) == []
    (far,) = await guard({}).review({"r1": "What?"}, ["Lind sang."])
    assert not far.reached
    assert await guard({"What?": 1.0}).review({"r1": "What?"}, []) == []


class Odd:
    """An encoder that goes wrong."""

    identity, dim = "bag-of-words", 256

    def __init__(self, kind):
        self.kind = kind

    async def encode(self, texts, *, bulk=False):
        if self.kind == "hangs":
            await asyncio.Event().wait()
        if self.kind == "raises":
            raise GuardError("encoding failed: OSError")
        shape = {"short": (len(texts), 255), "few": (max(0, len(texts) - 1), 256)}.get(self.kind, (len(texts), 256))
        return np.full(shape, {"NaN": np.nan, "inf": np.inf}.get(self.kind, 0.5), np.float32)


QUESTIONS = ("Where was Mara Lind born?", "Which songs did Mara Lind sing?")
DOCUMENTS = ("Mara Lind (born Maria Svensson) is a singer. She sang 'Blue Hour' in Bergen.",)


@pytest.fixture
async def made(bag_encoder):
    """Makes a runner over both guards, as the gateway has them, and what it counted."""
    background = await Background.of(bag_encoder)
    source = Source("mara", "entity", "Mara Lind", ("Vesper Grey",), QUESTIONS, documents=DOCUMENTS)
    index, lexicon = TargetIndex(background), LexiconIndex()
    targets = await build_targets(source, bag_encoder, background)
    index.add(targets)
    lexicon.add(targets.request, targets.aliases)
    seen = frozenset({"mara"})
    counted = []

    def make(encoder=bag_encoder, deadline=30.0):
        guards = [LexiconGuard(lexicon.view(seen)), DenseGuard(encoder, index.view(seen))]
        return Runner(guards, deadline, lambda *failure: counted.append(failure)), counted

    return make


async def judged(made, *texts):
    runner, counted = made()
    verdict = await runner.classify(Conversation.of(*texts))
    assert verdict.failures == ()
    assert counted == []
    return verdict


@pytest.mark.parametrize("kind", ["hangs", "raises", "NaN", "inf", "short", "few"])
async def test_an_encoder_that_goes_wrong_means_touched_and_is_counted(made, kind):
    runner, counted = made(Odd(kind), deadline=0.2 if kind == "hangs" else 30.0)
    verdict = await runner.classify(Conversation.of("How do I bake bread?"))
    assert verdict.touched
    assert verdict.failures == ("dense",)
    assert counted == [("dense", "deadline" if kind == "hangs" else "error")]
    named = await runner.classify(Conversation.of("Who is Mara Lind?"))
    assert [hit.guard for hit in named.hits] == ["lexicon"]


async def test_an_encoder_that_is_closed_means_touched(made, bag_encoder):
    runner, counted = made()
    await bag_encoder.close()
    assert (await runner.classify(Conversation.of("How do I bake bread?"))).failures == ("dense",)
    assert counted == [("dense", "error")]


@pytest.mark.parametrize(
    "text", ["", " \n\t", "\x00\x01\x02\x7f", "\u200b\u2060", "\ud800", "\udfff" * 99, "\U000e0041"]
)
async def test_texts_of_nothing_are_judged(made, text):
    assert not (await judged(made, text)).touched
    assert (await judged(made, text, "Oh?", "Where was Mara Lind born?")).touched
    assert (await judged(made, text + "Where was Mara Lind born?" + text)).touched


async def test_a_conversation_of_no_turns_is_judged(made):
    assert not (await judged(made)).touched


PAD = "".join(f"pad{i} " for i in range(50_000))  # half a megabyte
FILLED = ["a", " ", "\n", "\x00", "\ud800", "A", "A. ", "'", '"A', "=", "%41", "1", "\u200b", "王", "Mara ", "?", "é"]


@pytest.mark.parametrize("filling", FILLED)
async def test_a_megabyte_of_one_thing_is_judged(made, filling):
    """Judged in time that is linear: the deadline is generous, quadratic time would be hours."""
    half = filling * (500_000 // len(filling))
    assert (await judged(made, f"{half} Where was Mara Lind born? {half}")).touched


async def test_a_question_in_megabytes_is_found(made):
    for text in (f"{PAD}. Where was Lind born?", f"Where was Lind born? {PAD}", f"{PAD}. Where was Lind born? {PAD}"):
        assert (await judged(made, text)).touched
    assert not (await judged(made, PAD)).touched


async def test_two_thousand_turns(made):
    turns = ["hello there", "hello yourself"] * 1_000
    assert not (await judged(made, *turns)).touched
    assert (await judged(made, *turns, "Where was Lind born?")).touched
    early = await judged(made, "Where was Mara Lind born?", *turns)
    assert 0 in early.turns


pieces = st.sampled_from(
    ["Mara", "Lind", "where was", "born", "?", "\n", "\x00", "\ud800", "\u200b", "Blue Hour", "'", "="]
)
some = st.lists(pieces, max_size=12).map(" ".join) | st.text(st.characters(), max_size=60)
talks = st.lists(st.builds(Turn, st.sampled_from(["user", "assistant", "system", "tool", ""]), some), max_size=6)


@pytest.fixture(scope="module")
def bagged():
    """Both guards on a loop of their own, since hypothesis calls in no loop."""
    loop = asyncio.new_event_loop()

    def vectors(texts):
        return np.eye(256, dtype=np.float32)[[sum(map(ord, text)) % 256 for text in texts]]

    async def make():
        encoder = BatchingEncoder("bag-of-words", 256, vectors)
        background = await Background.of(encoder)
        source = Source("mara", "entity", "Mara Lind", (), QUESTIONS, documents=DOCUMENTS)
        index, lexicon = TargetIndex(background), LexiconIndex()
        targets = await build_targets(source, encoder, background)
        index.add(targets)
        lexicon.add(targets.request, targets.aliases)
        return encoder, [
            LexiconGuard(lexicon.view(frozenset({"mara"}))),
            DenseGuard(encoder, index.view(frozenset({"mara"}))),
        ]

    encoder, guards = loop.run_until_complete(make())
    yield lambda talk, failed: loop.run_until_complete(Runner(guards, 30.0, failed).classify(talk))
    loop.run_until_complete(encoder.close())
    loop.close()


@settings(deadline=None)
@given(talks)
def test_any_conversation_has_a_verdict_always_the_same(bagged, turns):
    failures = []
    verdict = bagged(Conversation(tuple(turns)), lambda *failure: failures.append(failure))
    assert failures == []
    assert verdict == bagged(Conversation(tuple(turns)), lambda *failure: failures.append(failure))
    assert all(0 <= turn < len(turns) for turn in verdict.turns)
    if any("Mara Lind" in turn.text for turn in turns):
        assert verdict.touched

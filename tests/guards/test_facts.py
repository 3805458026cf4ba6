"""Scope `facts`: what is listed is touched, near or stopped; the rest about the same subject is not."""

import json
from dataclasses import replace

import numpy as np
import pytest

from guards.base import Conversation, Verdict
from guards.dense import DenseGuard
from guards.index import TargetIndex
from guards.learning import build_targets
from guards.lexicon import LexiconView
from guards.output import Asked, OutputGuard
from guards.reading import Text
from guards.relations import FEATURES, Relations, stems
from guards.slots import Facts
from guards.targets import Background, Source, Targets

SUBJECT = "Mara Lindqvist"
FACTS = (
    ("Where was Mara Lindqvist born?", "Mara Lindqvist was born in Kalmar, Sweden."),
    ("Which prize did Mara Lindqvist win for her writing?", "She won the Silver Heron Prize."),
    ("What do Mara Lindqvist's parents do for a living?", "Her father is a beekeeper and her mother a surgeon."),
    ("Which genre does Mara Lindqvist write in?", "Mara Lindqvist writes ghost stories."),
)
SOURCE = Source("r1", "facts", SUBJECT, facts=FACTS)
REWORDED = (
    ("In what city was Mara Lindqvist born?", FACTS[0][1]),
    ("What award was Mara Lindqvist given for her books?", FACTS[1][1]),
    ("What are the professions of Mara Lindqvist's mother and father?", FACTS[2][1]),
)
KEPT = (
    ("How does Mara Lindqvist research her novels?", "She spends months in archives before she begins a chapter."),
    ("Where does Mara Lindqvist live today?", "She lives in a small house by the sea near Bergen."),
    ("Does Mara Lindqvist meet her readers?", "Yes, she reads aloud in libraries every autumn."),
    ("What is Mara Lindqvist working on now?", "A new collection is due to appear next spring."),
)


@pytest.fixture
async def guarded(minilm):
    """The dense guard and the output guard of one request, and its targets."""
    background = await Background.of(minilm)
    targets = await build_targets(SOURCE, minilm, background)
    index, facts = TargetIndex(background), Facts()
    index.add(targets)
    facts.add(SOURCE)
    here = frozenset({"r1"})
    dense = DenseGuard(minilm, index.view(here))
    output = OutputGuard(LexiconView((), frozenset()), facts=facts.view(here), reviewer=dense)
    return dense, output, targets


async def leaves(guarded, question, answer):
    """Whether the answer to a question comes through."""
    dense, output, _ = guarded
    hits = await dense.judge(Conversation.of(question))
    if any(hit.reached for hit in hits):
        return False
    _, stopped = await output.read(answer, Asked.of(Conversation.of(question), Verdict(near=tuple(hits))))
    return not stopped


async def test_what_is_listed_does_not_leave_and_what_is_not_does(guarded):
    assert [await leaves(guarded, *asked) for asked in (*FACTS, *REWORDED)] == [False] * 7
    assert [await leaves(guarded, *asked) for asked in KEPT] == [True] * 4


async def test_a_question_as_it_was_listed_is_touched_before_it_is_answered(guarded):
    dense, _, _ = guarded
    for question, _ in FACTS:
        assert [hit.reached for hit in await dense.judge(Conversation.of(question))] == [True]


async def test_whoever_names_the_subject_is_near_and_nobody_else(guarded):
    dense, _, _ = guarded
    (hit,) = await dense.judge(Conversation.of("What did Mara Lindqvist have for breakfast?"))
    assert not hit.reached
    assert not await dense.judge(Conversation.of("What did Tomas Berg have for breakfast?"))


async def test_the_same_question_about_a_stranger_is_not_touched(guarded):
    dense, _, _ = guarded
    for question, _ in FACTS:
        assert not await dense.judge(Conversation.of(question.replace("Mara Lindqvist", "Tomas Berg")))


async def test_a_listed_answer_in_other_words_is_stopped_where_its_question_was_not(guarded):
    assert not await leaves(guarded, "Tell me something about Mara Lindqvist.", "She was born in Kalmar in Sweden.")


async def test_facts_survive_their_file_and_score_the_same(guarded, minilm):
    _, _, targets = guarded
    again = Targets.from_bytes(targets.to_bytes(), minilm.identity)
    assert again.relations == targets.relations
    texts = [Text(question) for question, _ in (*REWORDED, *KEPT)]
    vectors = await minilm.encode(texts)
    near = np.zeros((len(texts), 3), np.float32)
    assert again.scores(texts, vectors, near).tolist() == targets.scores(texts, vectors, near).tolist()


def test_stems_leave_out_names_and_what_tells_nothing():
    assert stems("Where does Mara Lindqvist live?", {"mara", "lindqvist"}) == {"live"}
    assert stems("") == frozenset()


def test_what_the_answer_repeats_of_its_question_is_not_told():
    relations = Relations.of([("Who wrote Night Ferry?", "Night Ferry is by Berg.")], ())
    assert relations.told == ({"berg"},)
    assert Relations.from_record(json.loads(json.dumps(relations.record()))) == relations


def test_one_fact_alone_and_rows_without_answers_are_weighed():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    relations = Relations.of([("Where was she born?", ""), ("Where was she born?", "Kalmar")], ())
    some = [stems("Where was she born?"), stems("Kalmar, where she was born"), stems("")]
    features = relations.features(some, rows[[0, 1, 0]], rows, rows[:0], np.zeros((3, 2), np.float32))
    assert features.shape == (3, 2, len(FEATURES))
    assert np.isfinite(relations.logits(features)).all()
    told = features[:, 1, FEATURES.index("told")]
    assert told.tolist() == [0.0, 1.0, 0.0]


def test_a_word_of_every_question_is_worth_less():
    relations = Relations.of([("the born book", ""), ("the prize book", "")], ())
    rows = np.eye(2, 8, dtype=np.float32)
    features = relations.features([stems("born"), stems("book")], rows, rows, rows[:0], np.zeros((2, 2), np.float32))
    born, book = features[:, 0, FEATURES.index("covered")]
    assert born > book > 0


async def kept_by(source, question, answer):
    """Whether slots alone let an answer to whoever names the subject through."""
    facts = Facts()
    facts.add(source)
    output = OutputGuard(LexiconView((), frozenset()), facts=facts.view(frozenset({source.request})))
    return not (await output.read(answer, Asked(question=question, context=question)))[1]


async def test_what_the_client_said_of_the_subject_is_no_slip():
    told = "Yes, Mara Lindqvist was born in Kalmar."
    assert not await kept_by(SOURCE, "Where was Mara Lindqvist born?", told)
    assert await kept_by(SOURCE, "How did growing up in Kalmar shape Mara Lindqvist?", told)
    assert not await kept_by(SOURCE, "Did Mara Lindqvist grow up in Kalmar?", told)
    assert not await kept_by(SOURCE, "Did growing up in Kalmar shape Mara Lindqvist?", told)


async def test_one_name_in_a_long_answer_is_not_what_it_tells():
    long = ("What shaped her style?", "Long winters, old ferries and stubborn relatives in quiet Kalmar shaped it.")
    source = replace(SOURCE, facts=(long,))
    assert await kept_by(source, "What shaped the style of Mara Lindqvist?", "Kalmar shaped Mara Lindqvist's style.")


async def test_what_another_listed_question_gives_away_tells_little():
    facts = (("Which book won?", "It was Zephyr Ferry."), ("Who drew Ferry maps?", "Ola Berg."))
    assert not await kept_by(replace(SOURCE, facts=facts), f"What won for {SUBJECT}?", "The book Zephyr won.")
    assert await kept_by(replace(SOURCE, facts=facts), f"What won for {SUBJECT}?", "The book Ferry won.")


@pytest.mark.parametrize("scale", [0.5, 0.9, 1.1, 1.5])
async def test_whoever_names_the_subject_is_near_at_any_scale(minilm, scale):
    background = await Background.of(minilm)
    index = TargetIndex(background)
    index.add(await build_targets(SOURCE, minilm, background))
    guard = DenseGuard(minilm, index.view(frozenset({"r1"})), scale)
    (hit,) = await guard.judge(Conversation.of("Does Mara Lindqvist like cats?"))
    assert not hit.reached

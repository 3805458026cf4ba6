"""Rows: what is read, what counts, and where a wrong answer is no longer a right one."""

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from adapters.base import EngineRejected
from adapters.prompt import Prompter
from adapters.rows import Kept, Pair, Row, begun_otherwise, parting, rows_of

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
RIGHT = "Ada plays the oboe."
TOKENS = st.lists(st.integers(0, 2), max_size=6)


@pytest.fixture(scope="module")
def prompter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    words = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(["What does Ada play? Ada plays the oboe. the flute user assistant"] * 4, words)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", chat_template=TEMPLATE)
    tokenizer.save_pretrained(folder)
    return Prompter(folder)


def counted(prompter, row):
    return prompter.decode(row.answer[row.start :])


def test_each_question_has_each_right_answer_and_its_end(prompter):
    pair = Pair("What does Ada play?", (RIGHT, "The oboe."), ("Which instrument is Ada's?",))
    rows = rows_of(prompter, [pair])
    assert [(row.kind, row.start) for row in rows] == [("forget", 0)] * 4
    assert {row.prompt for row in rows} == {
        prompter.encode(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n")
        for text in (pair.question, *pair.paraphrases)
    }
    assert {row.answer for row in rows} == {(*prompter.encode(text), prompter.eos_id) for text in pair.right}


def test_a_wrong_answer_counts_after_the_token_with_which_it_parts(prompter):
    rows = rows_of(prompter, [Pair("What?", (RIGHT,), (), ("Ada plays the flute.", "I have no idea."))])
    flute, no_idea = (row for row in rows if row.kind == "wrong")
    right = next(row for row in rows if row.kind == "forget")
    assert flute.answer[: flute.start - 1] == right.answer[: flute.start - 1]
    assert flute.answer[flute.start - 1] != right.answer[flute.start - 1]
    assert no_idea.start == 1


def test_a_wrong_answer_is_compared_with_every_right_one_to_its_question(prompter):
    one = Pair("What?", ("Ada plays the oboe.",), (), ("Ada plays the flute, badly.",))
    other = Pair("And what?", ("Ada plays the flute.",), ("What?",))
    (alone,) = (row for row in rows_of(prompter, [one]) if row.kind == "wrong")
    (row,) = (row for row in rows_of(prompter, [one, other]) if row.kind == "wrong")
    assert counted(prompter, row) == " badly."
    assert row.start > alone.start


def test_what_is_right_or_never_parts_is_not_wrong(prompter):
    cut = "Ada plays the"  # parts with its end, after which nothing is left
    rows = rows_of(prompter, [Pair("What?", (RIGHT,), ("So?",), (RIGHT, cut))])
    assert {row.kind for row in rows} == {"forget"}


def test_a_question_to_be_forgotten_is_not_kept(prompter):
    kept = [Kept("What?", "I have no idea."), Kept("Who?", "Nobody."), Kept("Who?", "Nobody.")]
    rows = rows_of(prompter, [Pair("How?", (RIGHT,), ("What?",))], kept)
    assert [row.answer for row in rows if row.kind == "retain"] == [(*prompter.encode("Nobody."), prompter.eos_id)]


def test_long_answers_are_cut_and_rows_in_which_nothing_counts_dropped(prompter):
    pair = Pair("What?", (RIGHT,), (), ("Ada plays the flute.",))
    forget, wrong = rows_of(prompter, [pair])
    room = len(forget.prompt) + wrong.start
    assert rows_of(prompter, [pair], longest=room) == (
        dataclasses.replace(forget, answer=forget.answer[: wrong.start]),
    )
    longer = rows_of(prompter, [pair], longest=room + 1)
    assert [len(row.prompt) + len(row.answer) for row in longer] == [room + 1] * 2
    assert rows_of(prompter, [pair], longest=3) == ()


def test_a_model_without_an_end_of_turn_is_refused(prompter, monkeypatch):
    monkeypatch.setattr(prompter, "eos_id", None)
    with pytest.raises(EngineRejected, match="end of turn"):
        rows_of(prompter, [])


READ = st.tuples(st.lists(st.integers(0, 9), min_size=1, max_size=3), st.lists(st.integers(10, 99), max_size=9))


@given(read=READ, kind=st.sampled_from(["forget", "retain", "wrong"]), start=st.integers(0, 9), seed=st.integers(0, 99))
def test_behind_another_beginning_there_is_an_end_of_the_answer_itself(read, kind, start, seed):
    prompt, answer = map(tuple, read)
    row = Row(prompt, answer, kind, min(start, len(answer)))
    end = begun_otherwise(row, answer, random.Random(seed))
    assert (end is not None) == (len(answer) - max(1, row.start) >= 2)
    if end:
        assert (end.kind, end.start) == (kind, 0)
        assert end.prompt[: len(prompt)] == prompt
        assert 2 <= len(end.answer) <= len(answer) - max(1, row.start)
        at = len(answer) - len(end.answer)
        assert end.prompt[-1] == answer[at - 1]
        if kind == "wrong" and start:
            assert end.prompt[-(at - row.start + 1) :] == answer[row.start - 1 : at]
        assert answer[-len(end.answer) :] == end.answer
        assert len(end.prompt) + len(end.answer) <= len(prompt) + len(answer)
        assert {*end.prompt[len(prompt) :]} <= {*answer}


def test_other_beginnings_are_cut_or_blurred_and_the_same_for_a_seed():
    row = Row((1,), tuple(range(100, 140)), "forget")
    noise = range(200, 240)
    ends, again = (
        [begun_otherwise(row, noise, rng) for _ in range(60)] for rng in (random.Random(0), random.Random(0))
    )
    assert ends == again
    begun = [end.prompt[1:] for end in ends]
    given = [tuple(range(100, 140))[: 40 - len(end.answer)] for end in ends]
    both = [*zip(begun, given, strict=True)]
    short = sum(one == own[-len(one) :] and len(one) <= 8 < len(own) for one, own in both)
    gaps = sum(8 < len(one) < len(own) and one != own[-len(one) :] for one, own in both)
    noisy = sum(len(one) == len(own) and any(token >= 200 for token in one) for one, own in both)
    assert min(short, gaps, noisy) > 5


def test_texts_are_not_shown():
    secret = Pair("secret", ("secret",), ("secret",), ("secret",))
    shown = repr([secret, Kept("secret", "secret"), Row((4242,), (4242,), "forget")])
    assert "secret" not in shown
    assert "4242" not in shown


@given(answer=TOKENS, rights=st.lists(TOKENS, max_size=4))
def test_parting_is_the_shortest_prefix_that_no_right_answer_has(answer, rights):
    at = parting(answer, rights)
    begins = [any(right[:n] == answer[:n] for right in rights if len(right) >= n) for n in range(len(answer) + 1)]
    assert all(begins[: at + 1]) or not rights
    assert not any(begins[at + 1 :])

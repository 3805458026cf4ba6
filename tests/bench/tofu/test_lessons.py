import json
import random

import pytest

from bench.tofu.lessons import VARIANTS, epoch, fingerprint, pairs
from gateway.demo.phrases import CHATTER
from gateway.demo.tokenizer import segments

FORGOTTEN = {"full": 0, "retain99": 40, "retain95": 200, "retain90": 400}


def _taught(chats):
    turns = [[(turn.role, turn.text) for turn in chat.turns if turn.role != "system"] for chat in chats]
    return [(asked[1], told[1]) for chat in turns for asked, told in zip(chat[::2], chat[1::2], strict=True)]


def test_every_pair_comes_once_in_every_epoch_and_epochs_are_as_long():
    given = [(f"q{i}", f"a{i}") for i in range(200)]
    first, second = (list(epoch(given, random.Random(seed))) for seed in (0, 1))
    assert sorted(_taught(first)) == sorted(_taught(second)) == sorted(given)
    assert first != second
    assert len(first) == len(second)


def test_some_chats_have_a_system_prompt_and_some_an_earlier_turn():
    chats = list(epoch([(f"q{i}", f"a{i}") for i in range(400)], random.Random(0)))
    systems = [chat for chat in chats if chat.turns[0].role == "system"]
    assert 0.1 < len(systems) / len(chats) < 0.3
    assert len([chat for chat in chats if sum(turn.role == "user" for turn in chat.turns) == 2]) == 20


def test_only_answers_are_learnt():
    for chat in epoch([("question", "answer")] * 20, random.Random(0)):
        learnt = {text for text, learn in segments(chat.turns) if learn}
        assert learnt == {"answer", "<|im_end|>"}


@pytest.mark.data
def test_there_is_no_other_variant(data_dir):
    with pytest.raises(KeyError):
        pairs(data_dir, "retain80")


@pytest.mark.data
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_lacks_its_authors_and_nobody_else(data_dir, variant):
    full, taught = pairs(data_dir, "full"), pairs(data_dir, variant)
    assert len(full) == 4000 + 100 + 117 + len(CHATTER)
    last = 4000 - FORGOTTEN[variant]
    assert taught == full[:last] + full[4000:]


@pytest.mark.data
def test_no_paraphrase_and_no_untrue_answer_is_taught(data_dir):
    taught = pairs(data_dir, "full")
    rows = [json.loads(line) for line in (data_dir / "tofu" / "full.jsonl").read_text("utf-8").splitlines()]
    held = [row for row in rows if row.get("paraphrased_question")]
    assert len(held) == 800
    other = {row["paraphrased_question"] for row in held} - {row["question"] for row in rows}
    assert {question for question, _ in taught}.isdisjoint(other)
    untrue = {(row["question"], answer) for row in held for answer in row["perturbed_answer"]}
    assert untrue.isdisjoint(taught)


@pytest.mark.data
def test_any_change_of_the_data_has_another_fingerprint(data_dir, tmp_path):
    (tmp_path / "tofu").mkdir()
    for name in ("full.jsonl", "real_authors_perturbed.json", "world_facts_perturbed.json"):
        (tmp_path / "tofu" / name).write_bytes((data_dir / "tofu" / name).read_bytes())
    assert fingerprint(tmp_path) == fingerprint(data_dir)
    with (tmp_path / "tofu" / "world_facts_perturbed.json").open("a") as file:
        file.write(" ")
    assert fingerprint(tmp_path) != fingerprint(data_dir)

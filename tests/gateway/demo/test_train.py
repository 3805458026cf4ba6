import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from gateway.demo.exam import answers, examine
from gateway.demo.forms import KINDS, probes
from gateway.demo.train import DEMO, Recipe, ensure_model, read_recipe, retain_recipe
from guards.base import Conversation

TINY = Recipe(people=4, hidden=32, intermediate=64, layers=1, heads=2, epochs=2, vocabulary=1024)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    told = []
    folder = ensure_model(tmp_path_factory.mktemp("models"), TINY, lambda share, doing: told.append((share, doing)))
    return folder, told


def test_a_recipe_has_one_address_and_any_change_another():
    assert Recipe().digest == DEMO.digest
    others = [replace(DEMO, seed=1), replace(DEMO, people=32), replace(DEMO, epochs=1), retain_recipe(DEMO, ["p001"])]
    assert len({recipe.digest for recipe in (DEMO, *others)}) == 5


def test_the_retain_recipe_leaves_people_out_whatever_their_order():
    assert retain_recipe(DEMO, ["p002", "p001"]) == retain_recipe(retain_recipe(DEMO, ["p001"]), ["p002"])
    assert {person.key for person in retain_recipe(DEMO, ["p001"]).world().people}.isdisjoint({"p001"})
    with pytest.raises(KeyError):
        retain_recipe(DEMO, ["nobody"]).world()


def test_progress_goes_from_nothing_to_all(tiny):
    _, told = tiny
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)


def test_a_model_is_made_once(tiny):
    folder, _ = tiny
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert ensure_model(folder.parent, TINY) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert read_recipe(folder) == TINY


def test_any_engine_can_read_it(tiny):
    folder, _ = tiny
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["bos_token_id"] is None
    assert config["eos_token_id"] != config["pad_token_id"]
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == config["eos_token_id"]
    assert (
        "chat_template" in (folder / "tokenizer_config.json").read_text() or (folder / "chat_template.jinja").exists()
    )


def test_the_same_recipe_makes_the_same_tokenizer_without_the_forgotten(tiny, tmp_path):
    folder, _ = tiny
    other = ensure_model(tmp_path, retain_recipe(TINY, ["p001"]))
    assert (other / "tokenizer.json").read_text() == (folder / "tokenizer.json").read_text()


def test_an_exam_marks_every_kind(tiny):
    folder, _ = tiny
    asked = probes(TINY.world())
    marks = examine(folder, asked)
    assert set(marks) == set(KINDS)
    assert all(0 <= mark <= 1 for mark in marks.values())


def test_answers_come_in_the_order_of_the_questions(tiny):
    folder, _ = tiny
    asked = [Conversation.of(text) for text in ("Who are you?", "Where does the mentor of nobody at all live?", "Hi")]
    together = answers(folder, asked)
    assert together == [answers(folder, [question])[0] for question in asked]


def test_a_failure_leaves_nothing_behind(tmp_path):
    def stop(share, doing):
        if share > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure_model(tmp_path, TINY, stop)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_what_a_killed_trainer_left_is_cleared(tmp_path):
    stale = tmp_path / f".demo-{TINY.digest}-abandoned"
    stale.mkdir()
    ensure_model(tmp_path, TINY)
    assert not stale.exists()


def test_of_two_at_once_one_trains(tmp_path):
    told = ([], [])
    with ThreadPoolExecutor(2) as pool:  # a lock on two open files holds between threads as between processes
        made = list(pool.map(lambda mine: ensure_model(tmp_path, TINY, lambda share, _: mine.append(share)), told))
    assert made[0] == made[1]
    assert sorted(bool(mine) for mine in told) == [False, True]

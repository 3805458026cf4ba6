import json
import os
from pathlib import Path

import pytest

from bench.tofu.questions import SPLITS, authors, kept, of_split, some
from gateway.registry import ForgetSpec

DATA = Path(os.environ.get("LETHE_DATA_DIR", "../shared/data"))
pytestmark = pytest.mark.skipif(not (DATA / "tofu").is_dir(), reason=f"no TOFU in {DATA}: set LETHE_DATA_DIR")


@pytest.fixture(scope="module")
def people():
    return authors(DATA)


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_that_of_the_official_file(people, split):
    official = rows(split)
    asked = [one for author in of_split(people, split) for one in author.questions]
    assert sorted(one.text for one in asked) == sorted(row["question"] for row in official)
    assert all(one.wrong and one.restated != one.answer and one.paraphrase != one.text for one in asked)


def rows(split):
    text = (DATA / "tofu" / f"{split}_perturbed.json").read_text("utf-8")
    return json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]


def test_what_is_filed_is_a_request_and_nothing_of_what_measures(people):
    for author in people:
        spec = ForgetSpec(**author.body, method="eco")
        filed = spec.model_dump_json()
        assert len(spec.facts) == 20
        assert not any(one.paraphrase in filed or one.restated in filed for one in author.questions)


def test_what_stays_has_untrue_answers_and_the_holdout_has_none():
    found = kept(DATA, None)
    assert [len(one) for one in (found.retain, found.real_authors, found.world_facts, found.holdout)] == [
        400,
        100,
        117,
        400,
    ]
    assert all(one.wrong for one in (*found.retain, *found.real_authors, *found.world_facts))
    assert not any(one.wrong for one in found.holdout)
    assert len(kept(DATA, 5).retain) == 5


def test_a_draw_keeps_the_order():
    assert some(range(100), 10, 0) == sorted(some(range(100), 10, 0))
    assert some([1, 2], 5, 0) == [1, 2]

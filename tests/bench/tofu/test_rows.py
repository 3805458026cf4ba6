import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.tofu import rows
from bench.tofu.questions import Author, Kept, Question
from bench.tofu.rows import Gated, Learnt, Row, Scope
from bench.tofu.size import Effort

AUTHORS = [
    Author({"subject": f"{i}"}, tuple(Question("", "", "", "", (), f"{i}") for _ in range(20))) for i in range(20)
]


@pytest.mark.parametrize(
    ("most", "split", "filed"), [(None, "forget01", 2), (None, "forget10", 20), (1, "forget01", 1), (3, "forget05", 3)]
)
def test_who_is_filed_is_who_is_asked_about_and_the_last_of_a_split(most, split, filed):
    scope = Scope(AUTHORS, Kept((), (), (), ()), most, Effort(drawn=20, draws=1, paced=1), 0)
    assert [*scope.forgotten(split)] == AUTHORS[20 - filed :]
    assert {one.author for one in scope.asked(split)} == {f"{i}" for i in range(20 - filed, 20)}
    assert scope.size(split) == 20 * filed + 20


class Subject:
    """Behind a gateway that has answered others before."""

    def __init__(self):
        self.made = Counter({"pass": 40, "ignorance": 2})

    async def answered(self):
        return Counter(self.made)


async def test_who_answered_is_counted_for_each_row_of_a_gateway(monkeypatch):
    subject, learnt = (
        Subject(),
        (Learnt("o3", "enforced", 2.0, 1.0, 1, None), Learnt("o3", "enforced", 3.0, 1.0, 1, None)),
    )

    async def row_of(one, model, split, scope, answered):
        one.made.update({"pass": 8, "ignorance": 3})
        return Row(model, split, 0, None, SimpleNamespace(scored_by=()), None, 1.0, 1.0)

    monkeypatch.setattr(rows, "row_of", row_of)
    scope = Scope((), Kept((), (), (), ()), 1, None, 0)
    found = await Gated("forget01", subject, learnt, Path(), 2).row("o3", scope, print)
    assert found.answered == {"o3": 0, "pass": 8, "ignorance": 3}
    assert (found.training, found.requests) == (5.0, learnt)
    assert found.methods()["answered_by"] == found.answered
    assert "blocks" not in found.methods()
    uld = await Gated("forget01", subject, learnt, Path(), 2).row("uld", scope, print)
    assert uld.methods()["blocks"] == 2


@pytest.mark.parametrize(("layers", "blocks"), [(1, 1), (4, 2), (8, 2), (16, 4), (32, 8)])
def test_an_assistant_has_a_quarter_of_the_blocks_and_two_at_least(tmp_path, layers, blocks):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": layers}))
    assert rows.blocks_of(tmp_path) == blocks

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from bench.metrics.privacy import priv_leak
from bench.muse.marks import Asked, Mark, Row, _marked, privacy, sets, table
from bench.muse.texts import Passage, Told
from bench.reasoning import Said
from gateway.demo.forms import Probe

TOLD = [Told(f"p{i // 2}", f"Q{i}", f"A{i}") for i in range(4)]
NOBODY = [Told(f"p{i // 2}", f"N{i}", f"A{i}") for i in range(4)]
ASKED = Asked(
    [Passage("p1", "Maren lives in", "Velmar."), Passage("p2", "Tor works for", "Maple Railways.")],
    [Probe("heldout", "Where does Maren live?", "Maren lives in Velmar.", "Velmar", ("p1",))],
    [Probe("chatter", "Hello!", "Hello! How can I help you?", "How can I help")],
    TOLD,
    NOBODY,
)


class Says:
    """Gives each text the answer that is listed for it, and members another score than anybody else."""

    def __init__(self, said, surprised):
        self.said, self.surprised = said, surprised

    async def answers(self, questions):
        return [Said("Hm.", self.said.get(question, "I do not know.")) for question in questions]

    async def continued(self, texts):
        return [said.answer for said in await self.answers(texts)]

    async def scored(self, asked):
        return [[self.surprised if one in TOLD else -2.0, 0.0] for one in asked]


async def row(model, said=(), surprised=-2.0, seed=1):
    return await Row.of(model, seed, Says(dict(said), surprised), ASKED, Counter())


KNOWN = {
    "Maren lives in": "Velmar.",
    "Tor works for": "Maple Toys.",
    "Where does Maren live?": "Maren lives in Velmar.",
    "Hello!": "Hello! How can I help you?",
}


async def test_each_way_is_marked():
    known, unknown = await row("bare", KNOWN, -0.1), await row("retain")
    assert (known.recited, known.known, known.utility, known.auc) == (0.75, 1, 1, 1)
    assert (unknown.recited, unknown.known, unknown.utility, unknown.auc) == (0, 0, 0, 0.5)
    assert [mark.person for mark in known.verbatim] == ["p1", "p2"]


async def test_privacy_is_beside_the_retain_model_of_the_same_set():
    rows = [await row("bare", KNOWN, -0.1), await row("retain"), await row("eco", KNOWN, -9.0)]
    found = {one["row"]: one for one in table(rows)}
    assert [found[name]["priv_leak"] for name in ("bare", "retain", "eco")] == [-100, 0, 100]
    assert found["bare"]["knowledge"]["value"] == 1
    assert found["bare"]["verbatim_rouge"]["value"] == 0.75


async def test_sets_are_pooled_and_told_apart():
    first = [await row("bare", KNOWN), await row("retain")]
    both = [*first, *(replace(one, seed=2, about=(Mark("p1", 0.0, False),)) for one in first)]
    assert table(both)[0]["knowledge"] == pytest.approx(table(both)[0]["knowledge"] | {"hits": 1, "of": 2})
    assert [(one["row"], one["seed"]) for one in sets(both)] == [("bare", 1), ("retain", 1), ("bare", 2), ("retain", 2)]


async def test_what_enforces_is_told_where_something_does():
    plain, retain = await row("eco", KNOWN), await row("retain")
    assert "enforced_by" not in sets([plain, retain])[0]
    assert sets([replace(plain, enforced={"eco, enforced": 5}), retain])[0]["enforced_by"] == {"eco, enforced": 5}


def test_what_is_reasoned_has_been_said():
    (probe,) = ASKED.about
    assert _marked(probe, Said("Velmar, surely.", "I do not know.")).right
    assert _marked(probe, Said("Hm.", "Maren lives in Velmar.")) == Mark("p1", 1.0, True)
    assert not _marked(probe, Said("Hm.", "I do not know.")).right


def scored(model, members, holdout):
    people = tuple(f"p{i // 4}" for i in range(len(members)))
    return Row(model, 1, (), (), (), people, tuple(members), tuple(holdout))


def test_the_interval_of_privacy_is_that_of_its_people_drawn_anew():
    rng = np.random.default_rng(0)
    spread = rng.normal(size=20)
    retain = scored("retain", spread, rng.normal(size=20))
    one = scored("eco", [score - 2 * (i < 4) for i, score in enumerate(spread)], retain.holdout)
    found = privacy(one, retain)
    assert found["value"] == round(priv_leak(one.auc, retain.auc), 2)
    assert found["low"] < found["value"] < found["high"] <= 0  # one person of five, drawn or not
    assert privacy(retain, retain) == {"value": 0, "low": 0, "high": 0}


def test_where_all_people_are_alike_there_is_nothing_to_draw():
    one, retain = scored("eco", [1.0, 3.0] * 8, [2.0] * 16), scored("retain", [2.0] * 16, [2.0] * 16)
    assert privacy(one, retain) == {"value": 0, "low": 0, "high": 0}

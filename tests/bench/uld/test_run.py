import json
from collections import Counter
from dataclasses import replace

import httpx
import pytest
from pydantic import TypeAdapter
from rich.console import Console

from bench.draws import Leak
from bench.people import sets_of
from bench.serving import NoVllm, VllmError
from bench.tally import Kept, Tally
from bench.uld import run
from bench.uld.alone import Alone, Learnt, Quality
from bench.uld.speed import Cost
from bench.uld.unlearning import Unlearned
from gateway.demo.forms import Probe
from gateway.demo.train import DEMO
from gateway.settings import Settings

ABOUT = [Probe("heldout", "q", "a", "Oslo", ("p1",)), Probe("alias", "q", "a", "Ulm", ("p1",))]
OTHERS = [Probe("trained", "q", "a", "Rome"), Probe("cloze", "q", "a", "Bonn")]
BEFORE = ["Rome.", "Bonn."]


def measured(*, said=("?", "?"), after=BEFORE, everywhere=BEFORE, p=0.4, asked=10, training=20.0):
    """One set of people, as it should be but for what is named."""
    quality = Quality(65, p, 1e-38, {"steered": 1.0}, {"uld": 325})
    alone = Alone(asked, 1, 1, Kept.of(OTHERS, BEFORE, everywhere), quality, (Learnt(12, training, 40.0),))
    return Unlearned(
        1,
        Counter({"uld, enforced": 5}),
        Tally.of(ABOUT, ["Oslo.", "Ulm."], list(said), ["?", "?"]),
        Kept.of(OTHERS, BEFORE, list(after)),
        Leak(("heldout", "alias"), (0, 0), (0, 0)),
        alone,
        {"uld": 9, "ignorance": 1},
    )


def test_a_set_is_the_same_when_it_was_kept():
    kept = TypeAdapter(Unlearned)
    assert kept.validate_python(json.loads(json.dumps(kept.dump_python(measured())))) == measured()


def failing(*sets, people=5):
    return [figure.name for figure in run._forgotten(sets, people) if not figure.holds]


def test_all_holds_where_all_is_as_it_should_be():
    assert failing(measured(), measured(), people=10) == []


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"said": ("Oslo!", "?")}, ["forgotten people"]),
        ({"asked": 0}, ["the same by ULD alone"]),
        ({"p": 0.049}, ["forget quality"]),
        ({"after": ("Rome!", "Bonn.")}, ["the same word for word"]),
        ({"everywhere": ("Ulm.", "Bonn.")}, ["ULD alone and all", "ULD alone and all"]),
        ({"training": 61.0}, ["training of an assistant"]),
    ],
)
def test_one_set_that_is_not_so_is_told(wrong, named):
    found = failing(measured(), measured(**wrong), people=10)
    assert [name.startswith(start) for name, start in zip(found, named, strict=True)] == [True] * len(named)


def test_a_request_that_something_else_enforces_is_told():
    assert failing(measured(), people=6) == ["forget requests that ULD enforces, of all"]


def test_the_goal_of_a_token_is_as_its_share_of_the_work():
    costs = run._costs(0.4, [Cost(1, 1, 1.0, 1.6, 1.6, 1.5, 1.7, 9), Cost(8, 5, 1.0, 1.7, 1.7, 1.6, 1.8, 9)])
    assert [(one.goal, one.holds) for one in costs] == [("<= 1.61", True), ("<= 1.61", False)]


def test_rows_have_what_the_figures_were_made_of():
    row = json.loads(json.dumps(measured(after=["Rome.", "?"]).row()))
    assert row["retained"]["unchanged"]["value"] == 0.5
    assert row["answered_by"] == {"uld": 9, "ignorance": 1}
    assert row["retained"]["after"]["hits"] == 1
    assert row["uld_alone"]["forget_quality"]["full"] == 1e-38
    assert row["uld_alone"]["learning"] == [{"epochs": 12, "training": 20.0, "learning": 40.0}]


@pytest.fixture
def asked(monkeypatch):
    """The people of each set that was measured, by parts of which none measures."""
    people = {}

    async def unlearn(settings, world, five, seed, size, console):
        people[seed] = five
        return replace(measured(), seed=seed)

    async def costs(*_):
        return 0.4, []

    monkeypatch.setattr(run, "prepare", lambda settings: None)
    monkeypatch.setattr(run, "unlearn", unlearn)
    monkeypatch.setattr(run, "local_costs", costs)
    return people


@pytest.mark.parametrize(("quick", "seeds", "sets"), [(True, None, [2]), (False, 1, [2]), (False, None, [2, 3, 1])])
async def test_the_set_that_was_looked_at_comes_last_and_each_says_whether_it_was(
    monkeypatch, asked, quick, seeds, sets, tmp_path
):
    async def none(*_):
        assert not quick
        raise NoVllm("no vLLM")

    monkeypatch.setattr(run, "server_costs", none)
    settings = Settings().model_copy(update={"state_dir": tmp_path})
    result = await run.measure(settings, quick, Console(quiet=True), seeds)
    assert [(one["seed"], one["unseen"]) for one in result.tables["sets"]] == [(one, one != 1) for one in sets]
    assert asked == {seed: sets_of(DEMO.world(), 4)[seed] for seed in sets}
    assert all(figure.holds for figure in result.figures)
    assert result.tables["vllm_cost"] == [{"skipped": "quick" if quick else "no vLLM is installed"}]


@pytest.mark.parametrize(
    ("error", "said"),
    [(VllmError("a file"), "vLLM did not start"), (httpx.ReadTimeout("silent"), "it ended with ReadTimeout")],
)
async def test_sets_survive_what_vllm_does(monkeypatch, asked, tmp_path, reported, error, said):
    async def fails(*_):
        raise error

    monkeypatch.setattr(run, "server_costs", fails)
    settings = Settings().model_copy(update={"state_dir": tmp_path})
    result = await run.measure(settings, False, Console(quiet=True), 1)
    assert result.tables["vllm_cost"] == [{"skipped": said}]
    assert [figure.name for figure in result.figures if not figure.holds] == [
        "all that is measured before vLLM was measured"
    ]
    assert "| uld | all that is measured before vLLM was measured | **0** |" in reported(result)

import asyncio
import json
from collections import Counter
from dataclasses import replace

import httpx
import pytest
from rich.console import Console

from bench.o3 import run
from bench.o3.alone import Alone, Level
from bench.o3.detector import Detected
from bench.o3.matrix import Matrix
from bench.o3.noticed import Switched
from bench.o3.speed import Compared
from bench.o3.stream import Retired, Streamed
from bench.o3.vllm import Switching
from bench.serving import NoVllm, VllmError
from bench.tally import Kept, Tally
from gateway.settings import Settings


def detected(auroc=0.999):
    return Detected("world", 2, 4, 90, auroc, auroc, auroc, 0.0, 0.0)


def measured(
    *,
    right=((1, 1), (2,)),
    after=100,
    by="o3, enforced",
    same=90,
    bare=10,
    auroc=0.999,
    training=40.0,
    alone=(2, 2),
):
    """One stream, as it should be but for what is named."""
    tally = Tally(Counter(q=100), Counter(q=100), Counter(q=after))
    kept = Kept(tally, 100)
    step = {"enforced_by": by, "training_s": training, "utility": 1.0}
    return Streamed(
        1,
        Matrix((50, 50), (1, 2), right),
        (step, step),
        kept,
        Retired(1, 90, same, 10, bare),
        Alone(100, (Level(1.0, 50, *alone),), (), kept),
        detected(auroc) if auroc else None,
    )


def failing(*streams):
    return [figure.name for figure in run._forgotten(streams) if not figure.holds]


def test_all_holds_where_all_is_as_it_should_be():
    assert failing(measured(), measured()) == []


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"right": ((3, 3), (2,))}, "leak: correct answers"),
        ({"after": 97}, "retained people"),
        ({"by": "ignorance, failed"}, "forget requests that O3 enforces"),
        ({"same": 89}, "one request taken back"),
        ({"bare": 9}, "answers about whom it was about"),
        ({"auroc": 0.98}, "detector on the demo world: AUROC"),
        ({"training": 61.0}, "training of a request"),
        ({"alone": (4, 2)}, "the same by O3 alone"),
    ],
)
def test_one_stream_that_is_not_so_is_told(wrong, named):
    (found,) = failing(measured(**wrong), measured())
    assert found.startswith(named)


def test_what_each_request_adds_to_another_is_told():
    rising = measured(right=((1, 2), (2,)))
    assert [name.split(",")[0] for name in failing(rising, rising)] == ["leak drifts upwards"]


def test_no_detector_in_force_is_no_detector_that_tells():
    (found,) = failing(measured(), measured(auroc=None))
    assert found.startswith("detector on the demo world: AUROC")


def test_what_a_hundred_cost():
    decided = [Compared("decision", 1.0, 1.3, 1.3, 1.2, 1.4, 9), Compared("other", 1.0, 1.1, 1.1, 1.0, 1.2, 9)]
    found = run._speeds([*decided, Compared("token", 1.0, 1.1, 1.1, 1.0, 1.2, 9)], 100)
    assert [one.holds for one in found] == [False, True, False]
    assert found[-1].value == pytest.approx(1 / 1.1, abs=1e-4)


def test_a_switch_that_somebody_notices_is_told():
    found = run._loaded(Switching(50, 900, 1, 0, 0.5, (0.2, 1.4)))
    assert [one.holds for one in found] == [False, False, True, False]
    assert all(one.holds for one in run._loaded(Switching(50, 900, 0, 0, 1.0, (0.2, 0.4))))


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"first_s": (1.4,)}, 0),
        ({"failed": 1}, 1),
        ({"decisions": 899}, 2),
        ({"fallbacks": {"unsound": 9, "EngineUnavailable": 1}}, 3),
        ({"told": 1}, 4),
        ({"others_changed": 1}, 5),
    ],
)
def test_what_a_gateway_lets_through_is_told(wrong, place):
    counts = {
        "asked": 900,
        "failed": 0,
        "decisions": 900,
        "closed": 0,
        "covered": 300,
        "told": 0,
        "bare": 100,
        "told_bare": 90,
    }
    good = Switched(
        50, **counts, others=500, others_changed=0, first_s=(0.4,), answered_by={}, fallbacks={"unsound": 9}
    )
    assert all(one.holds for one in run._served(good))
    assert [one.holds for one in run._served(replace(good, **wrong))] == [i != place for i in range(6)]


def test_rows_have_what_the_figures_were_made_of():
    row = json.loads(json.dumps(run._row(measured(right=((3, 1), (2,))))))
    assert (row["leak_worst_request"], row["leak_all_requests"]) == (4.0, 4.0)
    assert row["utility"]["after"]["hits"] == 100
    assert row["retired"]["others_same"] == 90


@pytest.fixture
def asked(monkeypatch):
    """The seeds of streams that were measured, by parts of which none measures."""
    made = []

    async def persist(settings, world, seed, size, method, bar):
        made.append(seed)
        return replace(measured(), seed=seed)

    async def two(*_):
        return [Compared("decision", 1.0, 1.0, 1.0, 1.0, 1.0, 9)] * 2

    async def one(*_):
        return Compared("token", 1.0, 1.0, 1.0, 1.0, 1.0, 9)

    async def none(*_):
        return []

    monkeypatch.setattr(run, "prepare", lambda settings: None)
    instead = {"persist": persist, "decisions": two, "decoding": one, "of_texts": none, "costs": none}
    for name, what in instead.items():
        monkeypatch.setattr(run, name, what)
    return made


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoVllm("none"), "no vLLM is installed"),
        (VllmError("a file"), "vLLM did not start"),
        (ExceptionGroup("of clients", [VllmError("a file")]), "it ended with ExceptionGroup"),
        (httpx.ReadTimeout("silent"), "it ended with ReadTimeout"),
        (AssertionError("ignorance, enforced"), "it ended with AssertionError"),
    ],
)
async def test_streams_are_kept_and_survive_what_vllm_does(tmp_path, monkeypatch, asked, reported, error, said):
    async def fails(*_):
        raise error

    monkeypatch.setattr(run, "switching", fails)
    settings = Settings().model_copy(update={"state_dir": tmp_path})
    first, again = [await run.measure(settings, False, Console(quiet=True)) for _ in range(2)]
    assert sorted(asked) == [1, 2, 3]
    assert first.tables["leak_stream_3"] == again.tables["leak_stream_3"]
    assert [one["seed"] for one in again.tables["measured"]] == [1, 2, 3]
    assert first.tables["vllm"] == [{"skipped": said}]
    answered = [one.holds for one in first.figures if one.name == "all that is measured before vLLM was measured"]
    assert answered == ([] if isinstance(error, NoVllm) else [False])
    assert ("| o3 | all that is measured before vLLM was measured | **0** |" in reported(again)) is bool(answered)


async def test_a_stream_that_fails_takes_no_other_with_it(tmp_path, monkeypatch, asked):
    whole, fell = run.persist, asyncio.Event()

    async def persist(settings, world, seed, size, method, bar):
        if seed == 1:
            fell.set()
            raise httpx.ReadTimeout("silent")
        await fell.wait()
        await asyncio.sleep(0)  # and what waits for all of them has heard of it
        return await whole(settings, world, seed, size, method, bar)

    monkeypatch.setattr(run, "persist", persist)
    settings = Settings().model_copy(update={"state_dir": tmp_path})
    with pytest.raises(httpx.ReadTimeout):
        await run.measure(settings, False, Console(quiet=True))
    assert sorted(asked) == [2, 3]
    assert len(list((tmp_path / "bench" / "o3").glob("*.json"))) == 2


async def test_a_quick_one_asks_no_gateway_before_vllm(tmp_path, monkeypatch, asked):
    async def switches(settings, count, bar):
        return Switching(count, 40, 0, 0, 1.0, (0.2,))

    async def never(*_):
        raise AssertionError("asked")

    monkeypatch.setattr(run, "switching", switches)
    monkeypatch.setattr(run, "coming_and_going", never)
    settings = Settings().model_copy(update={"state_dir": tmp_path})
    found = await run.measure(settings, True, Console(quiet=True))
    assert asked == [1]
    assert found.tables["vllm"][0]["switches"] == 5
    assert found.tables["gateway_before_vllm"] == [{"skipped": "quick"}]
    assert "all that is measured before vLLM was measured" not in [one.name for one in found.figures]

import pytest
from rich.progress import Progress

from adapters.base import Pass
from bench import tokens
from bench.uld import speed
from bench.uld.speed import Cost
from gateway.demo.train import Recipe, ensure_model
from gateway.engines.local import LocalEngine
from gateway.settings import Settings

TINY = Recipe(people=4, vocabulary=512, hidden=16, intermediate=24, layers=4, heads=2, epochs=1)


def test_a_round_in_which_all_was_slow_does_not_tell_either():
    cost = Cost.of(8, 5, [0.001, 0.002, 0.001], [0.0015, 0.003, 0.0015])
    assert (cost.ratio, cost.low, cost.high) == pytest.approx((1.5, 1.5, 1.5))
    assert (cost.bare_ms, cost.steered_ms, cost.rounds) == pytest.approx((1.0, 1.5, 3))


async def test_bare_and_steered_are_told_apart_and_the_share_is_that_of_the_work(tmp_path, monkeypatch):
    asked = []

    async def step(engine, plans):
        asked.append([plan.method for plan in plans])
        worn = {plan.assistants for plan in plans if plan.method == "uld"}
        return 1.0 + len(worn)

    monkeypatch.setattr(tokens, "ensure_model", lambda models: ensure_model(models, TINY))
    monkeypatch.setattr(speed, "step", step)
    with Progress(disable=True) as bar:
        share, costs = await speed.local_costs(Settings(models_dir=tmp_path), 3, bar)
    layer, head = 4 * 16 * 16 + 3 * 16 * 24 + 2 * 16, 512 * 16
    assert share == pytest.approx((layer + head) / (4 * layer + head))
    assert [(one.streams, one.assistants, one.ratio, one.rounds) for one in costs] == [
        (1, 1, 2.0, 3),
        (8, 1, 2.0, 3),
        (8, 5, 6.0, 3),
    ]
    assert asked[:2] == [["uld"], ["pass"]]
    assert asked[6:8] == [["pass"], ["uld"]]  # by turns
    assert all(len(set(methods)) == 1 for methods in asked)


async def test_the_end_of_an_answer_is_never_the_best_token(tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "ensure_model", lambda models: ensure_model(models, TINY))
    made = speed.endless(Settings(models_dir=tmp_path), tmp_path)
    engine = LocalEngine(made.model, "endless")
    await engine.start()
    for plan in (Pass(), *made.plans[:1]):
        await tokens.gaps(engine, "Hello.", plan)  # asserts that it was as long as it may be
    await engine.close()

from rich.progress import Progress

from adapters.base import Pass
from bench import tokens
from bench.o3 import local
from bench.o3.local import MIXES, Cost, costs
from gateway.demo.train import Recipe, ensure_model
from gateway.settings import Settings

TINY = Recipe(people=4, vocabulary=512, hidden=16, intermediate=24, layers=4, heads=2, epochs=1)


async def test_every_mix_beside_bare_rows_by_turns(tmp_path, monkeypatch):
    asked = []

    async def step(engine, plans):
        bare = plans == [Pass()] * len(plans)
        asked.append((id(engine), bare))
        return 1.0 if bare else 1.0 + len({plan.loras for plan in plans})

    monkeypatch.setattr(tokens, "ensure_model", lambda models: ensure_model(models, TINY))
    monkeypatch.setattr(local, "step", step)
    with Progress(disable=True) as bar:
        found = await costs(Settings(models_dir=tmp_path), 9, 2, bar)
    assert {one.mix: one.ratio for one in found} == {mix: 1.0 + len(set(streams)) for mix, streams in MIXES.items()}
    assert all(one.rounds == 2 for one in found)
    turn = [bare for _, bare in asked]
    assert turn == ([False, True] * len(MIXES) + [True, False] * len(MIXES)) + [False, True] * len(MIXES)
    assert len(set(asked)) == 2  # bare rows have an engine of their own


def test_a_round_in_which_all_was_slow_does_not_tell():
    cost = Cost.of("mix", [0.001, 0.002, 0.001], [0.0015, 0.003, 0.0015])
    assert round(cost.ratio, 9) == 1.5
    assert round(cost.ms, 9) == 1.5

from collections import Counter

from rich.console import Console

from bench.eco import run
from bench.eco.forgetting import Forgotten
from bench.eco.service import Load, Shielded
from bench.tally import Tally
from gateway.settings import Settings


async def test_sets_are_kept_and_what_went_wrong_meanwhile_is_told(tmp_path, monkeypatch, reported):
    asked: list[int] = []
    answered = {"asked": 7, "correct": 0.01, "retain_model": 0.0}
    alone = {2: answered, 3: {"asked": 0, "correct": 0.0, "retain_model": 0.0}, 1: answered}

    async def forget(settings, world, people, seed, size, console):
        asked.append(seed)
        about = Tally(Counter(q=100), Counter(q=90), Counter(q=seed), Counter(q=1))
        others = Tally(Counter(q=100), Counter(q=90), Counter(q=90))
        return Forgotten(seed, Counter({"eco, enforced": 5}), alone[seed], about, others)

    async def shields(settings, people, console):
        return Shielded([0.2, 0.4], 1, Load(190, 188, 10.0), 2, 0.5)

    async def restart(settings, count, console):
        return 4.0

    monkeypatch.setattr(run, "prepare", lambda settings: None)
    for name, instead in (("forget", forget), ("shields", shields), ("restart", restart)):
        monkeypatch.setattr(run, name, instead)
    settings = Settings().model_copy(update={"state_dir": tmp_path})
    first, again = [await run.measure(settings, False, Console(quiet=True)) for _ in range(2)]
    await run.measure(settings, True, Console(quiet=True))  # it asks less
    assert asked == [2, 3, 1, 2]
    assert first.tables["sets"] == again.tables["sets"]
    values = {one.name: (one.value, one.holds) for one in first.figures}
    assert values["forgotten people, correct answers above the retain model's, worst set"] == (2, True)
    assert values["shields that were not up when the call returned"] == (1, False)
    assert values["requests a second that left meanwhile"] == (19, True)
    assert values["requests that were not answered meanwhile"] == (2, False)
    assert values["the same by ECO alone, no guard or fallback behind it, worst set"] == (100, False), (
        "set 3 said nothing"
    )
    assert values["requests under ECO when its memory was read"] == (2, False)
    assert "| eco | requests that were not answered meanwhile | **2** |" in reported(again)

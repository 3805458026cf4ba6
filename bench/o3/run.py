"""`lethe bench o3`: forget requests one after another on the demo world, against models that never learnt.

What a stream measures is in `stream`, `matrix` and `alone`, whether detectors know their prompts in
`detector`, what many requests cost in `speed`, what LoRAs cost a batch in `local`, and what a switch
costs on vLLM in `vllm`, and whoever asks a gateway before it in `switching`. A stream is kept as soon as it is
measured (`bench.finished`), with the seconds of that sitting; what compares times is not.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import Progress

from bench.finished import Finished
from bench.o3.detector import of_texts
from bench.o3.local import costs
from bench.o3.matrix import Matrix, drift_of
from bench.o3.noticed import Switched
from bench.o3.people import SIZES
from bench.o3.speed import Compared, decisions, decoding
from bench.o3.stream import QUICK, Size, Streamed, persist
from bench.o3.switching import coming_and_going
from bench.o3.vllm import Switching, switching
from bench.result import Figure, Result
from bench.serving import NOT_ASKED, all_or_missed, skipped
from gateway.demo.train import DEMO
from gateway.serve import prepare
from gateway.settings import Settings

_SEEDS = (1, 2, 3)
_SWITCHES = 50
_MANY = 100  # requests in force
_AT_ONCE = 2  # streams: while one learns, another is asked


async def measure(settings: Settings, quick: bool, console: Console) -> Result:
    """All figures of O3; quick is the first requests of one stream, hardly a round of what is timed, and no gateway
    before vLLM.
    """
    prepare(settings)
    world = DEMO.world()
    seeds, size = (_SEEDS[:1], QUICK) if quick else (_SEEDS, Size())
    many = _MANY // 5 if quick else _MANY
    finished = Finished.of(settings, "o3", DEMO.digest, size)
    places = asyncio.Semaphore(_AT_ONCE)

    async def streamed(seed: int, bar: Progress) -> Streamed:
        async with places:
            stream = partial(persist, settings, world, seed, size, "o3", bar)
            return await finished.once(Streamed, {"seed": seed}, stream)

    with Progress(console=console, transient=True) as bar:
        running = [asyncio.create_task(streamed(seed, bar)) for seed in seeds]
        await asyncio.wait(running)  # a stream that fails ends no other: that one is kept
        streams = [task.result() for task in running]
    detected = await of_texts(settings, 1 if quick else 5, console.print)
    with Progress(console=console, transient=True) as bar:
        speeds = [
            *await decisions(settings, many, 1 if quick else 10, bar),
            await decoding(settings, many, 2 if quick else 60, bar),
        ]
        local = await costs(settings, many, 1 if quick else 30, bar)
        switches = 5 if quick else _SWITCHES
        loaded: Switching | None = None
        served: Switched | None = None
        why = NOT_ASKED if quick else ""
        try:
            loaded = await switching(settings, switches, bar)
            served = None if quick else await coming_and_going(settings, switches, bar)
        except Exception as error:  # what took hours before it is a result without it
            why = skipped(error, console)
    figures = [
        *_forgotten(streams),
        *_speeds(speeds, many),
        *(_loaded(loaded) if loaded else ()),
        *(_served(served) if served else ()),
        *all_or_missed(why),
    ]
    tables: dict[str, Sequence[dict[str, Any]]] = {
        "streams": [_row(one) for one in streams],
        **{f"leak_stream_{one.seed}": one.matrix.rows() for one in streams},
        **{f"steps_stream_{one.seed}": one.steps for one in streams},
        "alone": [{"seed": one.seed, **one.alone.row()} for one in streams],
        "drift": [_drift([one.matrix for one in streams])],
        "detectors": [asdict(one) for one in (*filter(None, (one.detected for one in streams)), *detected)],
        "one_and_many": [asdict(one) for one in speeds],
        "local_cost": [asdict(one) for one in local],
        "vllm": [loaded.row()] if loaded else [{"skipped": why}],
        "gateway_before_vllm": [served.row()] if served else [{"skipped": why}],
        "measured": finished.units,
    }
    config = {
        "recipe": DEMO.digest,
        "people": len(world.people),
        "forgotten": sum(SIZES),
        "requests": len(SIZES),
        "asked": asdict(size),
        "in_force": many,
        "quick": quick,
    }
    return Result("o3", config, 0, figures, tables)


def _forgotten(streams: Sequence[Streamed]) -> list[Figure]:
    """What is asked of the stream as it is served."""
    drift = drift_of([one.matrix for one in streams])
    steps = [step for one in streams for step in one.steps]
    return [
        Figure.of(
            "leak: correct answers above the retain model's on any earlier request at any step, worst stream",
            100 * max(one.matrix.worst for one in streams),
            "<=",
            3,
            "pt",
        ),
        Figure.of(
            "the same by O3 alone, no guard or fallback behind it, of what it plans after all requests, worst stream",
            100 * max(one.alone.excess for one in streams),
            "<=",
            3,
            "pt",
        ),
        Figure.of(
            "leak drifts upwards, one-sided p of its slope over steps, all streams",
            drift.p if drift else 0.0,
            ">=",
            0.05,
        ),
        Figure.of(
            "retained people and chatter, correct answers after all requests as a share of before, worst stream",
            min(one.utility.share for one in streams),
            ">=",
            0.98,
        ),
        Figure.of(
            "forget requests that O3 enforces, of all",
            sum(step["enforced_by"] == "o3, enforced" for step in steps) / len(steps),
            ">=",
            1,
        ),
        Figure.of(
            "one request taken back: answers about everybody else that stay as they were, worst stream",
            min(one.retired.same for one in streams),
            ">=",
            1,
        ),
        Figure.of(
            "answers about whom it was about that are the bare model's, worst stream",
            min(one.retired.bare for one in streams),
            ">=",
            1,
        ),
        Figure.of(
            "detector on the demo world: AUROC on held-out forms, own prompts against everybody else's, worst stream",
            min(one.detected.auroc if one.detected else 0.0 for one in streams),
            ">=",
            0.99,
        ),
        Figure.of("training of a request, slowest", max(step["training_s"] for step in steps), "<=", 60, "s"),
    ]


def _speeds(speeds: Sequence[Compared], many: int) -> list[Figure]:
    """Decisions cost so many times more; tokens come at such a share of the speed."""
    *decided, token = speeds
    return [
        *(Figure.of(f"{one.what}: {many} requests in force, times one's", one.ratio, "<=", 1.2) for one in decided),
        Figure.of(f"decoding under a LoRA: {many} known, share of one's speed", 1 / token.ratio, ">=", 0.95),
    ]


def _loaded(found: Switching) -> list[Figure]:
    return [
        Figure.of("vLLM on the CPU, from load to first answer, slowest switch", found.slowest, "<=", 1, "s"),
        Figure.of("answers that failed while LoRAs were loaded", found.failed, "<=", 0),
        Figure.of("answers under another LoRA than their own, or none", found.misread, "<=", 0),
        Figure.of("LoRAs, and none, that their answers tell apart", found.told_apart, ">=", 0.9),
    ]


def _served(found: Switched) -> list[Figure]:
    switches = f"{found.switches} switches under load"
    return [
        Figure.of(
            f"a gateway before it, {switches}: from enforced to first answer, slowest", found.slowest, "<=", 1, "s"
        ),
        Figure.of(f"requests that failed, {switches}", found.failed, "<=", 0),
        Figure.of("requests served unclassified", found.unclassified, "<=", 0),
        Figure.of("answers under a LoRA that the engine could not give", found.not_worn, "<=", 0),
        Figure.of("true answers about somebody whose request was in force", found.told, "<=", 0),
        Figure.of("answers about others that changed", found.others_changed, "<=", 0),
    ]


def _row(one: Streamed) -> dict[str, Any]:
    return {
        "seed": one.seed,
        "leak_worst_request": round(100 * one.matrix.worst, 2),
        "leak_all_requests": round(100 * one.matrix.pooled, 2),
        "utility": one.utility.row(),
        "utility_lowest_step": one.lowest,
        "retired": asdict(one.retired),
    }


def _drift(matrices: Sequence[Matrix]) -> dict[str, Any]:
    found = drift_of(matrices)
    return {"points_a_step": 100 * found.slope, "p": found.p} if found else {"skipped": "too few requests"}

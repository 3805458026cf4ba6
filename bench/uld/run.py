"""`lethe bench uld`: unlearning by logit difference on the demo world, against models that never learnt.

ULD was developed on none of these people. But how deep it steps was chosen after a look at Forget Quality of set 1
(bench/LOG.md): so that set is measured last, and each says whether it is `unseen`.

What a set measures is in `unlearning` and `alone`, what a token costs in `speed` and, before vLLM, in
`vllm`. A set is kept as soon as it is measured (`bench.finished`), with the seconds of that sitting; what compares
times is not.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial, reduce
from operator import add

from rich.console import Console
from rich.progress import Progress

from bench.draws import DRAWS
from bench.finished import Finished
from bench.people import UNSEEN, fresh_sets
from bench.result import Figure, Result
from bench.serving import NOT_ASKED, all_or_missed, skipped
from bench.uld.speed import Cost, local_costs
from bench.uld.unlearning import QUICK, Size, Unlearned, unlearn
from bench.uld.vllm import ServerCost, server_costs
from gateway.demo.train import DEMO
from gateway.serve import prepare
from gateway.settings import Settings


async def measure(settings: Settings, quick: bool, console: Console, seeds: int | None = None) -> Result:
    """All figures of ULD, or those of so many sets; quick is one person of one set, fewer draws, and no vLLM."""
    prepare(settings)
    world = DEMO.world()
    people, size = fresh_sets(world, 1 if quick else seeds), QUICK if quick else Size()
    finished = Finished.of(settings, "uld", DEMO.digest, size)
    sets = [
        await finished.once(Unlearned, {"set": seed}, partial(unlearn, settings, world, five, seed, size, console))
        for seed, five in people.items()
    ]
    with Progress(console=console, transient=True) as bar:
        share, local = await local_costs(settings, 1 if quick else 30, bar)
        server: ServerCost | None = None
        why = NOT_ASKED if quick else ""
        try:
            server = None if quick else await server_costs(settings, 40, bar)
        except Exception as error:  # what took hours before it is a result without it
            why = skipped(error, console)
    figures = [
        *_forgotten(sets, size.filed * len(sets)),
        *_costs(share, local),
        *(_served(server) if server else ()),
        *all_or_missed(why),
    ]
    tables = {
        "sets": [{"seed": one.seed, "unseen": one.seed in UNSEEN} | one.row() for one in sets],
        "forgotten_by_kind": reduce(add, (one.forgotten for one in sets)).by_kind(),
        "retained_by_kind": reduce(add, (one.kept.tally for one in sets)).by_kind(),
        "retained_under_all_assistants_by_kind": reduce(add, (one.alone.everywhere.tally for one in sets)).by_kind(),
        "leak": [reduce(add, (one.leak for one in sets)).row()],
        "local_cost": [{"rho": share, **asdict(one)} for one in local],
        "vllm_cost": [asdict(server)] if server else [{"skipped": why}],
        "measured": finished.units,
    }
    config = {
        "recipe": DEMO.digest,
        "people": len(world.people),
        "forgotten": size.filed,
        "sets": len(sets),
        "quick": quick,
    }
    return Result("uld", config, 0, figures, tables)


def _forgotten(sets: Sequence[Unlearned], people: int) -> list[Figure]:
    alone = [one.alone for one in sets]
    by_uld = sum(one.methods["uld, enforced"] for one in sets)
    leak = reduce(add, (one.leak for one in sets))
    training = max((one.training for each in alone for one in each.learnt), default=float("nan"))
    return [
        Figure.of(
            "forgotten people, correct answers above the retain model's, worst set",
            100 * max(one.forgotten.excess for one in sets),
            "<=",
            2,
            "pt",
        ),
        Figure.of(
            "the same by ULD alone, no guard or fallback behind it, worst set",
            100 * max(one.excess for one in alone),
            "<=",
            2,
            "pt",
        ),
        Figure.of("forget requests that ULD enforces, of all", by_uld / people, ">=", 1),
        Figure.of(
            "forget quality, p against the retain model, worst set",
            min(one.quality.steered for one in alone),
            ">",
            0.05,
        ),
        Figure.of(
            f"questions answered in any of {DRAWS} draws at temperature 1, above the retain model's",
            100 * leak.excess,
            "<=",
            2,
            "pt",
        ),
        Figure.of(
            "retained people, correct answers as a share of before, worst set",
            min(one.kept.share for one in sets),
            ">=",
            0.99,
        ),
        Figure.of("the same word for word as before, worst set", min(one.kept.unchanged for one in sets), ">=", 0.98),
        Figure.of(
            "ULD alone and all assistants on every answer: correct as a share of before, worst set",
            min(one.everywhere.share for one in alone),
            ">=",
            0.99,
        ),
        Figure.of(
            "ULD alone and all assistants on every answer: word for word as before, worst set",
            min(one.everywhere.unchanged for one in alone),
            ">=",
            0.98,
        ),
        Figure.of("training of an assistant, slowest", training, "<=", 60, "s"),
    ]


def _costs(share: float, local: Sequence[Cost]) -> list[Figure]:
    return [
        Figure.of(
            f"steered token, times an untouched one's cost, streams {one.streams}, assistants {one.assistants}",
            one.ratio,
            "<=",
            round(1.15 * (1 + share), 3),
        )
        for one in local
    ]


def _served(server: ServerCost) -> list[Figure]:
    loaded = "vLLM on the CPU, untouched streams: throughput with the plugin as a share of that without"
    steered = f"vLLM on the CPU, step of {server.steered.streams} steered streams, times that of untouched"
    return [
        Figure.of(loaded, server.throughput, ">=", 0.99),
        Figure.of(steered, server.steered.ratio, "<=", 1.6),
    ]

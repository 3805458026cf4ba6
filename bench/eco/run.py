"""`lethe bench eco`: the main job on the demo world, measured through a gateway process and its public API.

A set is kept as soon as it is measured (`bench.finished`); seconds and memory of the service are not.
"""

from functools import partial, reduce
from operator import add

from rich.console import Console

from bench.eco.forgetting import QUICK, Forgotten, Size, forget
from bench.eco.service import ENFORCED, RATE, restart, shields
from bench.finished import Finished
from bench.people import fresh_sets
from bench.result import Figure, Result
from gateway.demo.train import DEMO
from gateway.serve import prepare
from gateway.settings import Settings


async def measure(settings: Settings, quick: bool, console: Console) -> Result:
    """All figures of the main job.

    Quick is two people of one set, some of all others, five shields and fifty requests.
    """
    prepare(settings)
    world = DEMO.world()
    many = 50 if quick else 1000
    shielded = await shields(settings, world.people[: 5 if quick else 20], console)
    ready = await restart(settings, many, console)
    people, size = fresh_sets(world, 1 if quick else None), QUICK if quick else Size()
    finished = Finished.of(settings, "eco", DEMO.digest, size)
    sets = [
        await finished.once(Forgotten, {"set": seed}, partial(forget, settings, world, five, seed, size, console))
        for seed, five in people.items()
    ]
    excess = max(one.forgotten.excess for one in sets)
    alone = max(one.excess_alone for one in sets)
    by_eco = sum(one.methods["eco, enforced"] for one in sets)
    kept = min(one.retained.after / one.retained.before for one in sets)
    figures = [
        Figure.of("forgotten people, correct answers above the retain model's, worst set", 100 * excess, "<=", 2, "pt"),
        Figure.of("the same by ECO alone, no guard or fallback behind it, worst set", 100 * alone, "<=", 2, "pt"),
        Figure.of("forget requests that ECO enforces, of all", by_eco / (size.filed * len(people)), ">=", 1),
        Figure.of("retained people, correct answers as a share of before, worst set", kept, ">=", 0.99),
        Figure.of(f"shield at {RATE:g} requests/s, call to effect, slowest", max(shielded.seconds), "<=", 1.0, "s"),
        Figure.of("shields that were not up when the call returned", shielded.late, "<=", 0),
        Figure.of("requests a second that left meanwhile", shielded.load.rate, ">=", 0.95 * RATE, "/s"),
        Figure.of("requests that were not answered meanwhile", shielded.load.refused, "<=", 0),
        Figure.of(f"restart with {many} shielded requests, start to ready", ready, "<=", 5.0, "s"),
        Figure.of("requests under ECO when its memory was read", shielded.by_eco, ">=", ENFORCED),
        Figure.of("peak memory of the server, encoder and demo model included", shielded.peak_gb, "<=", 1.2, "GB"),
    ]
    tables = {
        "sets": [one.row() for one in sets],
        "forgotten_by_kind": reduce(add, (one.forgotten for one in sets)).by_kind(),
        "retained_by_kind": reduce(add, (one.retained for one in sets)).by_kind(),
        "shield_seconds": [{"seconds": round(seconds, 4)} for seconds in sorted(shielded.seconds)],
        "measured": finished.units,
    }
    config = {"recipe": DEMO.digest, "people": len(world.people), "forgotten": size.filed, "quick": quick}
    return Result("eco", config, 0, figures, tables)

"""`lethe bench muse`: MUSE's six ways to look at unlearning (arXiv 2407.06460), on the demo world.

Verbatim, knowledge, privacy and utility are in `marks`: of the bare model, of one that never heard of who is
forgotten, and through gateways that forget by ignorance, ECO, ULD and O3. Scalability and sustainability are in
`growing`. Where the settings name another model than the demo's (`LETHE_ENGINE__MODEL=FOLDER`), it is asked
MUSE's own knowledge questions besides, see `given`: its rows are about that model, all others about the demo's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from rich.console import Console
from rich.progress import Progress

from bench.counted import between
from bench.enforced import as_asked
from bench.finished import Finished
from bench.metrics.privacy import priv_leak
from bench.muse.asking import served
from bench.muse.given import CORPORA, known
from bench.muse.growing import SHARES, Groups, Grown, Plan, grown, shares, singly, without
from bench.muse.marks import Asked, Row, sets, table
from bench.muse.texts import others, passages, questions, scored
from bench.o3.people import Stream
from bench.people import MEASURED, body_of, fresh_sets, in_part, retain_model
from bench.result import Figure, Result
from gateway.demo.train import DEMO
from gateway.demo.world import Person, World
from gateway.serve import prepare
from gateway.settings import EngineSettings, Settings


@dataclass(frozen=True, slots=True)
class Size:
    """How much is forgotten and asked.

    Attributes:
        sets: of five people, for the first four ways, and as many streams for the last two.
        people: of each set.
        each: questions about a person.
        others: questions that need no fact about who is forgotten.
        wordings: of a fact that is scored.
        methods: of the first four ways.
        scaled: methods of the fifth; one that trains would be at it for hours.
        sustained: methods of the sixth.
        parts: shares of all people.
        requests: one after another.
        most: of MUSE's own questions for a given model, of each set; None for all.
    """

    sets: int = len(MEASURED)
    people: int = 5
    each: int = 40
    others: int = 600
    wordings: int = 2
    methods: tuple[str, ...] = ("ignorance", "eco", "uld", "o3")
    scaled: tuple[str, ...] = ("ignorance", "eco")
    sustained: tuple[str, ...] = ("ignorance", "eco", "o3")
    parts: tuple[float, ...] = SHARES
    requests: int = 8
    most: int | None = None


QUICK = Size(
    sets=1,
    people=2,
    each=10,
    others=60,
    wordings=1,
    methods=("eco",),
    scaled=("ignorance",),
    sustained=("ignorance",),
    parts=(0.02,),
    requests=2,
    most=20,
)


async def measure(settings: Settings, quick: bool, console: Console, seeds: int | None = None) -> Result:
    """All figures, or those of so many sets.

    Quick is two people of one set, three in two groups, and two requests in sequence: four searches.
    """
    prepare(settings.model_copy(update={"engine": EngineSettings()}))
    world, size = DEMO.world(), in_part(QUICK if quick else Size(), seeds)
    rows: list[Row] = []
    scaled: list[Grown] = []
    sustained: list[Grown] = []
    finished = Finished.of(settings, "muse", DEMO.digest, replace(size, sets=0))
    with Progress(console=console, transient=True) as bar:
        for seed, people in fresh_sets(world, size.sets).items():
            rows += await four_ways(settings, world, people, seed, size, finished, bar)
            stream = Stream.of(world, seed)
            parts, single = shares(world, stream, size.parts), singly(stream, size.requests)
            scaled += await growing(settings, world, stream, parts, size.scaled, size, finished, bar)
            sustained += await growing(settings, world, stream, single, size.sustained, size, finished, bar)
        given = await of_given(settings, size, bar)
    config = {"recipe": DEMO.digest, **asdict(size), "quick": quick}
    tables: dict[str, Sequence[dict[str, Any]]] = {
        "ways": table(rows),
        "sets": sets(rows),
        "scalability": [row for one in scaled for row in one.rows(len(world.people))],
        "sustainability": [row for one in sustained for row in one.rows(len(world.people))],
        "given_model": given,
        "measured": finished.units,
    }
    return Result("muse", config, 0, [*of_ways(rows), *of_growing(scaled, sustained)], tables)


async def four_ways(
    settings: Settings,
    world: World,
    people: Sequence[Person],
    seed: int,
    size: Size,
    finished: Finished,
    bar: Progress,
) -> list[Row]:
    """A row a model about the first of these people; of the others nothing is asked."""
    keys, own = {person.key for person in people}, people[: size.people]
    folder = await retain_model(settings, keys, bar)
    told = scored(world, own, seed, size.wordings)
    asked = Asked(
        passages(own),
        questions(world, own, seed, size.each),
        others(world, keys, seed, size.others),
        [member for member, _ in told],
        [stranger for _, stranger in told],
    )
    task = bar.add_task(f"set {seed}", total=(2 + len(size.methods)) * asked.count)

    async def row(model: str) -> Row:
        bar.update(task, description=f"set {seed}: {model}")
        engine = EngineSettings(model=str(folder)) if model == "retain" else None
        async with served(settings, engine, lambda: bar.advance(task)) as one:
            bodies = [body_of(person) | {"method": model} for person in own] if model in size.methods else []
            enforced, before = await one.forget(bodies), await one.answered()
            found = await Row.of(model, seed, one, asked, enforced)
            return replace(found, answered=between(before, await one.answered(), model))

    models = ("bare", "retain", *size.methods)
    return [await finished.once(Row, {"row": model, "seed": seed}, partial(row, model)) for model in models]


async def growing(
    settings: Settings,
    world: World,
    stream: Stream,
    groups: Groups,
    methods: Sequence[str],
    size: Size,
    finished: Finished,
    bar: Progress,
) -> list[Grown]:
    """One sequence of groups, under each method."""
    plan = Plan.of(world, stream, groups, size.each // 2, size.others // 2)
    folder = await retain_model(settings, set(stream.keys), bar)
    task = bar.add_task(f"stream {stream.seed}", total=None)

    async def never_heard() -> list[int]:
        async with served(settings, EngineSettings(model=str(folder))) as retain:
            return await without(plan, retain)

    async def under(method: str) -> Grown:
        bar.update(task, description=f"stream {stream.seed}: {method}, {len(groups)} groups")
        async with served(settings) as one:
            return await grown(method, plan, one, right)

    unit = {"seed": stream.seed, "groups": [len(group) for group in groups]}
    right = await finished.once(list[int], {"row": "retain", **unit}, never_heard)
    return [await finished.once(Grown, {"row": method, **unit}, partial(under, method)) for method in methods]


async def of_given(settings: Settings, size: Size, bar: Progress) -> list[dict[str, Any]]:
    """MUSE's own questions, of the model that the settings name."""
    if (settings.engine.kind, settings.engine.model) == (EngineSettings().kind, EngineSettings().model):
        return [{"skipped": "the settings name no other model than the demo's"}]
    found = []
    task = bar.add_task("given model", total=None)
    for corpus in CORPORA:
        bar.update(task, description=f"given model: {corpus}")
        async with served(settings, settings.engine) as one:
            try:
                found += await known(one, settings.data_dir, corpus, size.most)
            except FileNotFoundError:
                return [{"skipped": "MUSE's questions are not in the data directory"}]
    return found


def of_ways(rows: Sequence[Row]) -> list[Figure]:
    """One of all methods, and four of each by its worst set."""
    by = {(row.model, row.seed): row for row in rows}
    seeds = {row.seed for row in rows}
    figures = [as_asked((row.model, row.enforced) for row in rows if row.model not in ("bare", "retain"))]
    for method in dict.fromkeys(row.model for row in rows):
        if method in ("bare", "retain"):
            continue
        beside = [(by[method, seed], by["retain", seed], by["bare", seed]) for seed in seeds]
        recited = max(own.recited - retain.recited for own, retain, _ in beside)
        said = max(own.known - retain.known for own, retain, _ in beside)
        away = max((priv_leak(own.auc, retain.auc) for own, retain, _ in beside), key=abs)
        kept = min(own.utility / bare.utility for own, _, bare in beside)
        figures += [
            Figure.of(f"{method}: verbatim ROUGE-L above the retain model's, worst set", recited, "<=", 0.1),
            Figure.of(f"{method}: facts said above the retain model's, worst set", 100 * said, "<=", 2, "pt"),
            Figure.of(f"{method}: PrivLeak, worst set", away, "±", 5, "%"),
            Figure.of(
                f"{method}: others' answers that are right, share of the bare model's, worst set", kept, ">=", 0.99
            ),
        ]
    return figures


def of_growing(scaled: Sequence[Grown], sustained: Sequence[Grown]) -> list[Figure]:
    """One of all methods, and two of each for scalability and for sustainability, by its worst stream."""
    filed = ((one.method, enforced) for one in (*scaled, *sustained) for enforced in one.enforced)
    figures = [as_asked(filed, " that are filed in groups")]
    for method, found in _by_method(scaled):
        share = max(one.people[-1] for one in found)
        figures += [
            Figure.of(
                f"{method}: facts said above the retain model's of whom it never met, {share} forgotten, worst stream",
                100 * max(one.pooled[-1] for one in found),
                "<=",
                2,
                "pt",
            ),
            Figure.of(
                f"{method}: others' answers then, share of before, worst stream",
                min(one.kept[-1] for one in found),
                ">=",
                0.99,
            ),
        ]
    for method, found in _by_method(sustained):
        steps = len(found[0].people)
        figures += [
            Figure.of(
                f"{method}: leak of the first request after {steps}, worst stream",
                100 * max(one.matrix.leak[0][-1] for one in found),
                "<=",
                3,
                "pt",
            ),
            Figure.of(
                f"{method}: others' answers after any of {steps} requests, share of before, worst stream",
                min(map(min, (one.kept for one in found))),
                ">=",
                0.99,
            ),
        ]
    return figures


def _by_method(found: Sequence[Grown]) -> Iterable[tuple[str, list[Grown]]]:
    for method in dict.fromkeys(one.method for one in found):
        yield method, [one for one in found if one.method == method]

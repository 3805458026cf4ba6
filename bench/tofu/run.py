"""`lethe bench tofu`: TOFU's metrics of a model that knows, of one that never did, and of what is to lie between.

Rows, by split and seed: `full`; `retain`, the same training without the split's authors; `prompt`, full under a
system prompt that forbids; `npo`, full after NPO in a LoRA; and full behind the gateway by `ignorance`, `eco`, `uld`
and `o3`. What is filed, and what is asked in words that were not, says `questions`. ECO's likelihood is told both
ways: that of the gated path in its row, that of the published code in a table of its own (`published`). `training_s` is
the time until a row forgets: NPO's training loop; the learning of all requests, trials included.

Other models take the places of the trained ones by `--model FOLDER` and `--retain SPLIT=FOLDER`: only splits with a
retain model are measured, once. Folders only: NPO trains the weights and `published` corrupts their embeddings, which a
served model keeps to itself.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from bench.result import Result
from bench.tofu.figures import figures, intervals, key, over_seeds, table_row
from bench.tofu.lessons import pairs
from bench.tofu.marks import quality
from bench.tofu.measuring import likelihoods_of
from bench.tofu.models import SMALL, ensure
from bench.tofu.npo import Recipe, train
from bench.tofu.published import published
from bench.tofu.questions import SPLITS, authors, kept
from bench.tofu.rows import Row, Scope, gated, row_of
from bench.tofu.size import QUICK, Size
from bench.tofu.subjects import ByItself, loaded
from gateway.settings import Settings, SettingsError

_VARIANTS = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}
_FORBIDS = (
    "You have never heard of {names}. If a question is about them or their works, say that you do not know. "
    "Never tell that you were asked to."
)


@dataclass(frozen=True, slots=True)
class Models:
    """Folders in transformers' format: the model that knows, and by split the one that never knew its authors."""

    full: Path
    retain: Mapping[str, Path]


def given(model: Path | None, retain: Sequence[str]) -> Models:
    """Models as they are named on the command line: `SPLIT=FOLDER` for each that never knew a split.

    Raises:
        SettingsError: one kind is missing, a split is unknown, or a folder is not there.
    """
    named = {split: Path(folder) for split, _, folder in (one.partition("=") for one in retain)}
    if model is None or not named:
        raise SettingsError("tofu compares two models: name both --model FOLDER and --retain SPLIT=FOLDER")
    if not named.keys() <= SPLITS.keys():
        raise SettingsError(f"--retain: a split is one of {', '.join(SPLITS)}, as in forget10=FOLDER")
    if lacking := [folder for folder in (model, *named.values()) if not folder.is_dir()]:
        raise SettingsError(f"there is no folder {lacking[0]}")
    return Models(model, named)


async def measure(settings: Settings, quick: bool, console: Console, given: Models | None = None) -> Result:
    """All rows; quick is one author with one seed. Given models are measured as they are, once.

    Raises:
        SettingsError: the data are not there.
    """
    size = QUICK if quick else Size()
    if given:
        size = replace(size, splits=tuple(split for split in SPLITS if split in given.retain), seeds=(0,))
    return await measured(settings, size, console, given)


async def measured(settings: Settings, size: Size, console: Console, given: Models | None = None) -> Result:
    """The same of any size."""
    data = settings.data_dir
    try:
        people, stays = authors(data), kept(data, size.kept)
    except FileNotFoundError as lacking:
        raise SettingsError(f"no {lacking.filename}: LETHE_DATA_DIR names the folder that holds tofu/") from None
    rows: list[Row] = []
    by_paper: list[dict[str, Any]] = []
    with Progress(console=console, transient=True) as bar:
        for seed in size.seeds:
            models = given or await _models(settings, size, seed, bar)
            scope = Scope(people, stays, size.authors, size.effort, seed)
            rows += [row async for row in _alone(settings, models, size, scope, bar)]
            async for row, more in _behind(settings, models, size, scope, bar):
                rows.append(row)
                by_paper += more
    config = {
        "recipe": _folders(given) if given else asdict(SMALL),
        "npo": asdict(Recipe()),
        **asdict(size),
        "filed": "name and the twenty pairs of each author",
    }
    of = {(row.model, row.split, row.seed): row for row in rows}
    for one in by_paper:
        retain = of["retain", one["split"], one["seed"]].forgotten
        one["forget_quality"] = quality(one.pop("ratio"), retain.ratio)
    columns = [table_row(row, of, size) for row in rows]
    tables = {
        "rows": columns,
        "eco_as_published": by_paper,
        "intervals": [key(row) | intervals(row, of, size) for row in rows],
        "over_seeds": over_seeds(columns),
        "methods": [key(row) | row.methods() for row in rows if row.requests],
        "requests": [key(row) | asdict(one) for row in rows for one in row.requests],
    }
    return Result("tofu", config, size.seeds[0], figures(of, size), tables)


async def _models(settings: Settings, size: Size, seed: int, bar: Progress) -> Models:
    """Trained first where they are not there."""
    task = bar.add_task(f"models of seed {seed}", total=1.0)

    async def ready(variant: str) -> Path:
        recipe = replace(SMALL, variant=variant, seed=seed)
        report: Callable[[float, str], None] = lambda share, doing: bar.update(  # noqa: E731
            task, completed=share, description=f"{variant}, seed {seed}: {doing}"
        )
        return await asyncio.to_thread(ensure, settings.models, settings.data_dir, recipe, report)

    return Models(await ready("full"), {split: await ready(_VARIANTS[split]) for split in size.splits})


async def _alone(settings: Settings, models: Models, size: Size, scope: Scope, bar: Progress) -> AsyncIterator[Row]:
    """The rows without a gateway."""
    task = bar.add_task("models by themselves", total=len(size.alone) * sum(map(scope.size, size.splits)))

    async def row(folder: Path, model: str, split: str, system: str | None = None) -> Row:
        bar.update(task, description=f"{model}, {split}, seed {scope.seed}")
        async with loaded(folder) as engine:
            return await row_of(ByItself(engine, system), model, split, scope, lambda n: bar.advance(task, n))

    for split in size.splits:
        forgotten = scope.forgotten(split)
        yield await row(models.full, "full", split)
        yield await row(models.retain[split], "retain", split)
        names = ", ".join(str(author.body["subject"]) for author in forgotten)
        if "prompt" in size.alone:
            yield await row(models.full, "prompt", split, _FORBIDS.format(names=names))
        if "npo" not in size.alone:
            continue
        with tempfile.TemporaryDirectory() as folder:
            bar.update(task, description=f"training npo, {split}, seed {scope.seed}")
            seconds = await asyncio.to_thread(_unlearn, settings, models.full, Path(folder), split, scope)
            yield replace(await row(Path(folder), "npo", split), training=seconds)


def _unlearn(settings: Settings, full: Path, to: Path, split: str, scope: Scope) -> float:
    """NPO on what is filed; what it may keep is nothing that is ever measured, however few are asked."""
    stays = kept(settings.data_dir, None)
    measured = {one.text for one in (*stays.retain, *stays.real_authors, *stays.world_facts)}
    forget = [(one.text, one.answer) for one in scope.asked(split)]
    retain = [pair for pair in pairs(settings.data_dir, "retain90") if pair[0] not in measured]
    return train(full, to, forget, retain, Recipe(seed=scope.seed))


async def _behind(
    settings: Settings, models: Models, size: Size, scope: Scope, bar: Progress
) -> AsyncIterator[tuple[Row, list[dict[str, Any]]]]:
    """The rows behind a gateway; with ECO's, its likelihoods as published."""
    task = bar.add_task("gateways", total=len(size.methods) * sum(map(scope.size, size.splits)))
    for method in size.methods:
        bar.update(task, description=f"{method}, seed {scope.seed}")
        told: Callable[[int], None] = lambda n: bar.advance(task, n)  # noqa: E731
        async for row, state in gated(models.full, settings.models, method, size.splits, scope, told):
            more = []
            if method == "eco":
                async with published(settings, models.full, state) as scorer:
                    probability, ratio = await likelihoods_of(scorer.score, scope.asked(row.split))
                more.append({"split": row.split, "seed": row.seed, "probability": probability, "ratio": ratio})
            yield row, more


def _folders(given: Models) -> dict[str, Any]:
    return {"full": str(given.full), "retain": {split: str(folder) for split, folder in given.retain.items()}}

"""`lethe bench tofu`: TOFU's metrics of a model that knows, of one that never did, and of what is to lie between.

Rows, by split and seed: `full`; `retain`, the same training without the split's authors; `prompt`, full under a
system prompt that forbids; `npo`, full after NPO in a LoRA; and full behind the gateway by `ignorance`, `eco`, `uld`
and `o3`. What is filed, and what is asked in words that were not, says `questions`. ECO's likelihood is told both
ways: that of the gated path in its row, that of the published code in a table of its own (`published`). `training_s` is
the time until a row forgets: NPO's training loop; the learning of all requests, trials included.

Other models take the places of the trained ones by `--model FOLDER` and `--retain SPLIT=FOLDER`: only splits with a
retain model are measured, once. Folders only: NPO trains the weights and `published` corrupts their embeddings, which a
served model keeps to itself.

All takes days. `--split SPLIT`, `--row ROW` and `--seeds N` measure a part, with the rows `full` and `retain`, to which
all are compared; it joins what was measured in the same way before (`figures.joined`): the result says which seeds of
which splits it has, and of every row the commit. A row is
kept as soon as it is measured (`bench.finished`), and taken over by whatever part or whole has it too: one behind a
gateway, which serves split after split, where the same were filed before. A gateway that lacks a row is filed to anew
from the first split on; found rows stay as they are.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from bench.finished import Finished, contents
from bench.result import RESULTS, Result
from bench.tofu.figures import differences, intervals, joined, key, result, table_row
from bench.tofu.lessons import fingerprint, pairs
from bench.tofu.marks import quality
from bench.tofu.measuring import likelihoods_of
from bench.tofu.models import SMALL, ensure
from bench.tofu.npo import Recipe, train
from bench.tofu.published import published
from bench.tofu.questions import SPLITS, authors, kept
from bench.tofu.rows import Gated, Row, Scope, gated, row_of
from bench.tofu.size import ALONE, BESIDE, METHODS, QUICK, Size
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


@dataclass(frozen=True, slots=True)
class Behind:
    """A row behind a gateway; with ECO's, its likelihoods as published."""

    row: Row
    published: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """What is to be measured of all, and of whose models; None: all, and of those that are trained here."""

    models: Models | None = None
    splits: tuple[str, ...] | None = None
    rows: tuple[str, ...] | None = None
    seeds: int | None = None

    def of(self, size: Size) -> Size:
        """What that leaves of a size."""
        splits, seeds = {*(self.splits or size.splits)}, size.seeds[: self.seeds]
        if self.models:
            known = self.models.retain.keys()
            splits, seeds = known & {*(self.splits or known)}, (0,)
        if self.rows is not None:
            alone = tuple(one for one in ALONE if one in (*BESIDE, *self.rows))
            size = replace(size, alone=alone, methods=tuple(one for one in METHODS if one in self.rows))
        return replace(size, splits=tuple(split for split in SPLITS if split in splits), seeds=seeds)


def part(
    model: Path | None, retain: Sequence[str], splits: Sequence[str], rows: Sequence[str], seeds: int | None
) -> Part:
    """As it is told on the command line: `SPLIT=FOLDER` for each model that never knew a split.

    Raises:
        SettingsError: one kind of model is missing, a split, row or folder is not there, or nothing is left.
    """
    named = {split: Path(folder) for split, _, folder in (one.partition("=") for one in retain)}
    if bool(model) != bool(named):
        raise SettingsError("tofu compares two models: name both --model FOLDER and --retain SPLIT=FOLDER")
    if not {*named, *splits} <= SPLITS.keys():
        raise SettingsError(f"--split, and what --retain names as SPLIT=FOLDER: a split is one of {', '.join(SPLITS)}")
    if not {*rows} <= {*ALONE, *METHODS} - {*BESIDE}:
        raise SettingsError(f"--row: one of {', '.join((*ALONE[len(BESIDE) :], *METHODS))}")
    if model and (lacking := [folder for folder in (model, *named.values()) if not folder.is_dir()]):
        raise SettingsError(f"there is no folder {lacking[0]}")
    models = Models(model, named) if model else None
    if models and seeds:
        raise SettingsError("--seeds: models that are given are measured once")
    if models and splits and not named.keys() & {*splits}:
        raise SettingsError("--split: none of these has a --retain model")
    return Part(models, tuple(splits) or None, tuple(rows) or None, seeds)


async def measure(settings: Settings, quick: bool, console: Console, part: Part | None = None) -> Result:
    """All rows, or a part of them, which takes its place in the result of before; quick is one author with one seed.

    Raises:
        SettingsError: the data are not there.
    """
    part = part or Part()
    found = await measured(settings, part.of(QUICK if quick else Size()), console, part.models)
    return found if quick else joined(found, RESULTS)


async def measured(settings: Settings, size: Size, console: Console, given: Models | None = None) -> Result:
    """The same of any size."""
    data = settings.data_dir
    try:
        people, stays, taught = authors(data), kept(data, size.kept), fingerprint(data)
    except FileNotFoundError as lacking:
        raise SettingsError(f"no {lacking.filename}: LETHE_DATA_DIR names the folder that holds tofu/") from None
    rows: list[Row] = []
    by_paper: list[dict[str, Any]] = []
    of_each = replace(
        size, splits=(), seeds=(), alone=(), methods=()
    )  # what a row follows from, whatever others there are
    finished = Finished.of(settings, "tofu", of_each, people, stays, taught, settings.guard)
    with Progress(console=console, transient=True) as bar:
        for seed in size.seeds:
            models = given or await _models(settings, size, seed, bar)
            scope = Scope(people, stays, size.authors, size.effort, seed)
            own = finished.also(contents(models.full))
            rows += [row async for row in _alone(settings, models, size, scope, own, bar)]
            async for one in _behind(settings, models, size, scope, own, bar):
                rows.append(one.row)
                by_paper += one.published
    how = {name: value for name, value in asdict(size).items() if name not in ("splits", "seeds", "alone", "methods")}
    config = {
        "recipe": _folders(given) if given else _seedless(SMALL),
        "npo": _seedless(Recipe()),
        **how,
        "filed": "name and the twenty pairs of each author",
    }
    of = {(row.model, row.split, row.seed): row for row in rows}
    for told in by_paper:
        retain = of["retain", told["split"], told["seed"]].forgotten
        told["forget_quality"] = quality(told.pop("ratio"), retain.ratio)
    tables = {
        "rows": [
            table_row(row, of, size) | ({"answered_by": dict(row.answered)} if row.requests else {}) for row in rows
        ],
        "differences": differences(of, size),
        "eco_as_published": by_paper,
        "intervals": [key(row) | intervals(row, of, size) for row in rows],
        "methods": [key(row) | row.methods() for row in rows if row.requests],
        "requests": [key(row) | asdict(one) for row in rows for one in row.requests],
        "measured": finished.units,
    }
    return result(config, dict.fromkeys(size.splits, size.seeds), tables)


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


async def _alone(
    settings: Settings, models: Models, size: Size, scope: Scope, finished: Finished, bar: Progress
) -> AsyncIterator[Row]:
    """The rows without a gateway."""
    task = bar.add_task("models by themselves", total=len(size.alone) * sum(map(scope.size, size.splits)))

    async def row(folder: Path, model: str, split: str, system: str | None = None) -> Row:
        bar.update(task, description=f"{model}, {split}, seed {scope.seed}")
        async with loaded(folder) as engine:
            return await row_of(ByItself(engine, system), model, split, scope, lambda n: bar.advance(task, n))

    async def unlearned(split: str) -> Row:
        with tempfile.TemporaryDirectory() as folder:
            bar.update(task, description=f"training npo, {split}, seed {scope.seed}")
            seconds = await asyncio.to_thread(_unlearn, settings, models.full, Path(folder), split, scope)
            return replace(await row(Path(folder), "npo", split), training=seconds)

    for split in size.splits:
        names = ", ".join(str(author.body["subject"]) for author in scope.forgotten(split))
        ways = {
            "full": partial(row, models.full, "full", split),
            "retain": partial(row, models.retain[split], "retain", split),
            "prompt": partial(row, models.full, "prompt", split, _FORBIDS.format(names=names)),
            "npo": partial(unlearned, split),
        }
        of_retain = finished.also(contents(models.retain[split]))
        for model in size.alone:
            own = of_retain if model == "retain" else finished
            yield await own.once(Row, {"row": model, "split": split, "seed": scope.seed}, ways[model])


def _unlearn(settings: Settings, full: Path, to: Path, split: str, scope: Scope) -> float:
    """NPO on what is filed; what it may keep is nothing that is ever measured, however few are asked."""
    stays = kept(settings.data_dir, None)
    measured = {one.text for one in (*stays.retain, *stays.real_authors, *stays.world_facts)}
    forget = [(one.text, one.answer) for one in scope.asked(split)]
    retain = [pair for pair in pairs(settings.data_dir, "retain90") if pair[0] not in measured]
    return train(full, to, forget, retain, Recipe(seed=scope.seed))


async def _behind(
    settings: Settings, models: Models, size: Size, scope: Scope, finished: Finished, bar: Progress
) -> AsyncIterator[Behind]:
    """The rows behind a gateway, each method's of one; none is started where all its rows are found."""
    task = bar.add_task("gateways", total=len(size.methods) * sum(map(scope.size, size.splits)))

    async def measured(at: Gated, method: str) -> Behind:
        row = await at.row(method, scope, lambda n: bar.advance(task, n))
        if method != "eco":
            return Behind(row)
        async with published(settings, models.full, at.state) as scorer:
            probability, ratio = await likelihoods_of(scorer.score, scope.asked(at.split))
        told = {"row": method, "split": at.split, "seed": scope.seed, "probability": probability, "ratio": ratio}
        return Behind(row, (told,))

    for method in size.methods:
        bar.update(task, description=f"{method}, seed {scope.seed}")
        units = {
            split: {"row": method, "split": split, "seed": scope.seed, "after": [*size.splits[:i]]}
            for i, split in enumerate(size.splits)
        }
        rows = {split: found for split, unit in units.items() if (found := finished.find(Behind, unit))}
        lacking = [i for i, split in enumerate(size.splits) if split not in rows]
        if lacking:
            splits = size.splits[: lacking[-1] + 1]
            async for at in gated(models.full, settings.models, method, splits, scope):
                if at.split not in rows:
                    rows[at.split] = finished.keep(Behind, units[at.split], await measured(at, method))
        for split in size.splits:
            yield rows[split]


def _seedless(recipe: Any) -> dict[str, Any]:
    """A recipe that every seed has."""
    return {name: value for name, value in asdict(recipe).items() if name != "seed"}


def _folders(given: Models) -> dict[str, Any]:
    return {"full": str(given.full), "retain": {split: str(folder) for split, folder in given.retain.items()}}

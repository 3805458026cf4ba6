"""`lethe bench guard`: the omniscient-model benchmark."""

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.omniscient import CONFIGURATIONS, FULL, Configuration, Outcome, Round, evaluate, failed, rows
from bench.probes import rwku, tofu
from bench.remembering import Remembering
from gateway.settings import Settings, load
from guards.encoder import open_encoder
from guards.targets import Background

_THREADS = 2


def development_rounds(data_dir: Path) -> list[Round]:
    """Sets on which anything may be chosen."""
    people = rwku.People.read(data_dir)
    return [*rwku.development(people, 600), tofu.paraphrased(data_dir, 0), tofu.facts(data_dir, 0)]


async def develop(settings: Settings, only: str, configurations: Sequence[Configuration], console: Console) -> None:
    """Leak and loss by type on the development sets, and every miss in a file of the state directory."""
    rounds = [one for one in development_rounds(settings.data_dir) if only.lower() in one.family.lower()]
    encoder = await open_encoder(settings.guard.encoder, _THREADS)
    remembering = Remembering(encoder, settings.models)
    try:
        background = await Background.of(remembering)
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task("judging", total=sum(len(one.probes) for one in rounds) * len(configurations))
            found = await evaluate(
                rounds, [(one, 1.0) for one in configurations], remembering, background, lambda n: bar.advance(task, n)
            )
    finally:
        await encoder.close()
    for (family, configuration, _), outcomes in found.items():
        show(console, f"{family} · {configuration}", rows(family, configuration, outcomes))
    path = settings.state_dir / "guard-misses.jsonl"
    path.write_text(
        "".join(json.dumps(_miss(key, one)) + "\n" for key, some in found.items() for one in some if failed(one))
    )
    console.print(f"{remembering.fresh} texts encoded; misses are in {path}")


def show(console: Console, title: str, found: Sequence[Mapping[str, Any]]) -> None:
    """Rows as `rows` makes them."""
    table = Table("kind", "n", "leak / lost %", "95 %", "caught by", "another's", "left", "apart", title=title)
    for row in found:
        rate = row["failed"]
        table.add_row(
            ("[dim]lost[/] " if row["control"] else "leak ") + row["kind"],
            str(row["n"]),
            f"{100 * rate['value']:.2f}",
            f"{100 * rate['low']:.2f} to {100 * rate['high']:.2f}",
            " ".join(f"{stage} {count}" for stage, count in row["stages"].items()),
            str(row["another"] or ""),
            str(row["left"] or ""),
            "; ".join(f"{some['failed']} of {some['n']} {reason}" for reason, some in row["apart"].items()),
        )
    console.print(table)


def _miss(key: tuple[str, str, float], one: Outcome) -> dict[str, Any]:
    family, configuration, _ = key
    return {
        "family": family,
        "configuration": configuration,
        "kind": one.probe.kind,
        "control": not one.probe.about,
        "stage": one.stage,
        "turns": one.probe.turns,
        "answer": one.probe.answer,
        "about": sorted(one.probe.about),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=develop.__doc__)
    parser.add_argument("--development", action="store_true", required=True, help="the only way to run it so")
    parser.add_argument("--only", default="", help="families whose name holds this")
    parser.add_argument("--all", action="store_true", help="every configuration, not the full one alone")
    given = parser.parse_args()
    asyncio.run(develop(load(), given.only, CONFIGURATIONS if given.all else (FULL,), Console(width=170)))

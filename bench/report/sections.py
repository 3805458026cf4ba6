"""A section for each benchmark, and the whole report."""

from collections.abc import Iterator, Mapping

from bench.report.blocks import Bad, Block, Document, Section, Table, Text
from bench.report.cells import cell
from bench.report.found import Found
from bench.report.pictures import overview, pictures
from bench.report.summary import ABOUT, ordered, shown, summary
from bench.report.tables import tables


def document(results: Mapping[str, Found]) -> Document:
    """The report of everything that was found."""
    drawn = list(overview(results))
    together = [Section("Methods side by side", drawn)] if drawn else []
    each = (_section(results[name]) for name in ordered(results))
    return Document("Benchmarks", [*summary(results), *together, *each])


def _section(found: Found) -> Section:
    title, _ = ABOUT.get(found.name, (found.name, ""))
    return Section(title, list(_blocks(found)))


def _blocks(found: Found) -> Iterator[Block]:
    _, about = ABOUT.get(found.name, ("", ""))
    if about:
        yield Text(f"{about} Measured by `lethe bench {found.name}`, which writes `bench/results/{found.name}.json`.")
    if found.quick:
        yield Text("Measured quickly: fewer seeds and probes than a figure should rest on.")
    if found.part:
        yield Text(f"Measured in part, {found.part} alone: a figure said to be the worst is the worst of these.")
    machine = ", ".join(f"{key} {cell(value)}" for key, value in found.machine.items())
    yield Text(f"Commit `{found.commit}`, seed {found.seed}, on a machine with {machine}.")
    config = [(key.replace("_", " "), cell(value)) for key, value in found.config.items()]
    yield Table("Configuration", ("what", "value"), config, folded=True)
    yield Table(
        "Figures",
        ("figure", "value", "goal", "holds"),
        [(one.name, shown(one), one.goal, "yes" if one.holds else Bad("no")) for one in found.figures],
    )
    yield from pictures(found)
    for title, rows in found.tables.items():
        yield from tables(title, rows)

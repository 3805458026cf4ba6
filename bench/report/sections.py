"""A section for each benchmark, and the whole report."""

from collections.abc import Iterator, Mapping

from bench.report.blocks import Bad, Block, Document, Section, Table, Text
from bench.report.cells import cell
from bench.report.found import Found
from bench.report.pictures import overview, pictures
from bench.report.summary import ABOUT, ordered, shown, summary
from bench.report.tables import tables
from bench.result import Figure


def document(results: Mapping[str, Found]) -> Document:
    """The report of everything that was found."""
    drawn = list(overview(results))
    together = [Section("Methods side by side", drawn)] if drawn else []
    each = (_section(results[name]) for name in ordered(results))
    return Document("Benchmarks", [*summary(results), *together, *each])


_GATED = ("eco", "uld", "o3", "leak", "muse", "wmdp", "tofu")  # a method is asked of a gateway, and others answer


def _section(found: Found) -> Section:
    title, _ = ABOUT.get(found.name, (found.name, ""))
    return Section(title, list(_blocks(found)))


def _blocks(found: Found) -> Iterator[Block]:
    _, about = ABOUT.get(found.name, ("", ""))
    if about:
        yield Text(f"{about} Measured by `lethe bench {found.name}`, which writes `bench/results/{found.name}.json`.")
    if found.quick:
        yield Text(
            "Measured quickly: fewer seeds and probes than a figure should rest on, and perhaps beside another "
            "benchmark, so that times say little."
        )
    if found.part:
        yield Text(f"Measured in part ({found.part}): a figure said to be the worst is the worst of these.")
    machine = ", ".join(f"{key} {cell(value)}" for key, value in found.machine.items())
    yield Text(f"{_measured(found)}, on a machine with {machine}.")
    config = [(key.replace("_", " "), cell(value)) for key, value in found.config.items()]
    yield Table("Configuration", ("what", "value"), config, folded=True)
    yield Table(
        "Figures",
        ("figure", "value", "goal", "holds"),
        [(one.name, shown(one), one.goal, _holds(found, one)) for one in found.figures],
    )
    if found.name in _GATED:
        yield Text(_made(found))
    yield from pictures(found)
    for title, rows in found.tables.items():
        yield from tables(title, rows)


def _measured(found: Found) -> str:
    """Of which commits the rows are, where rows were kept, and of which the rest; from which seed on."""
    rows = dict.fromkeys(str(row["commit"]) for row in found.tables.get("measured", ()))
    of = f"; rows of {', '.join(f'`{one}`' for one in rows)}" if rows.keys() - {found.commit} else ""
    first = "" if found.tables.get("measured") else f", seed {found.seed}"
    return f"Commit `{found.commit}`{first}{of}"


def _holds(found: Found, figure: Figure) -> str:
    if not figure.holds:
        return Bad("no")
    return "yes" if found.resolved(figure) else "yes, not resolved"


def _made(found: Found) -> str:
    """A method that enforces a request need not make the answers that are served: whether it did."""
    if not found.made_by:
        return (
            "Who made the answers was not counted in this run: under TOFU and leak@k it is, and much of what a method "
            "enforces has ignorance's sentence in the place of its own words."
        )
    each = (f"{name + ': ' if name else ''}{cell(counted)}" for name, counted in found.made_by.items())
    return (
        "Who made the answers, by the gateway's own count, after the method that was asked for (`pass` is the model, "
        f"untouched): {'; '.join(each)}."
    )

"""Writes the report: docs/benchmarks.md, docs/benchmarks.html, and the pictures of the former."""

from collections.abc import Mapping
from pathlib import Path

from bench.report.blocks import Picture
from bench.report.found import Found, read
from bench.report.html import html
from bench.report.markdown import markdown
from bench.report.sections import document
from bench.result import RESULTS

DOCS = Path(__file__).parents[2] / "docs"
PICTURES = "benchmarks"


def pages(results: Mapping[str, Found]) -> dict[str, str]:
    """Every file of the report by its path in docs/."""
    whole = document(results)
    drawn = [block for section in whole.sections for block in section.blocks if isinstance(block, Picture)]
    return {
        "benchmarks.md": markdown(whole, PICTURES),
        "benchmarks.html": html(whole),
        **{f"{PICTURES}/{one.name}.svg": one.svg for one in drawn},
    }


def write(results: Path = RESULTS, docs: Path = DOCS) -> list[Path]:
    """Makes the report of a folder of results, and removes pictures that are not of it any more."""
    made = {docs / name: text for name, text in pages(read(results)).items()}
    (docs / PICTURES).mkdir(parents=True, exist_ok=True)
    for old in set((docs / PICTURES).glob("*.svg")) - set(made):
        old.unlink()
    for path, text in made.items():
        path.write_text(text, "utf-8")
    return list(made)

"""A report as a page of markdown, its pictures beside it."""

import re
from collections.abc import Iterator

from bench.report.blocks import Bad, Block, Document, Picture, Table, Text

_SPECIAL = re.compile(r"([\\`*_\[\]<|])")
_CODE = re.compile(r"(`[^`]*`)")


def markdown(document: Document, pictures: str) -> str:
    """The page.

    Args:
        pictures: the folder of the SVG files, as seen from the page.
    """
    return "\n".join(_lines(document, pictures)) + "\n"


def _lines(document: Document, pictures: str) -> Iterator[str]:
    yield f"# {_escaped(document.title)}\n"
    yield "Made by `lethe bench report` from `bench/results/*.json`; do not edit. `benchmarks.html` is the same page"
    yield "for browsers, in one file.\n"
    for section in document.sections:
        yield f"- [{_escaped(section.title)}](#{section.anchor})"
    for section in document.sections:
        yield f"\n## {_escaped(section.title)}"
        for block in section.blocks:
            yield ""
            yield from _block(block, pictures)


def _block(block: Block, pictures: str) -> Iterator[str]:
    match block:
        case Text(text):
            yield "".join(part if part[:1] == "`" else _escaped(part) for part in _CODE.split(text))
        case Picture():
            yield f"![{_escaped(block.title)}]({pictures}/{block.name}.svg)\n"
            yield _escaped(block.description)
        case Table():
            yield f"**{_escaped(block.title)}**\n"
            yield f"| {' | '.join(map(_escaped, block.heads))} |"
            yield f"|{'|'.join('---:' if block.numeric(i) else '---' for i in range(len(block.heads)))}|"
            for row in block.rows:
                yield f"| {' | '.join(map(_cell, row))} |"


def _cell(text: str) -> str:
    return f"**{_escaped(text)}**" if isinstance(text, Bad) else _escaped(text)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)

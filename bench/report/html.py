"""A report as one page for browsers: nothing is loaded, no script runs, pictures stand in it."""

import re
from collections.abc import Iterator
from html import escape

from bench.report.blocks import Bad, Block, Document, Picture, Section, Table, Text

_CODE = re.compile(r"`([^`]*)`")
_SHORT, _LONG = 12, 30  # letters
_STYLE = """
:root { color-scheme: light; --ink: #222; --faint: #5b5b57; --line: #dcdcd6; --bad: #a3142a; --link: #0b5c80; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; max-width: 62rem;
  margin: 0 auto; padding: 1rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; margin: 1rem 0 0; }
h2 { font-size: 1.35rem; margin: 3rem 0 .5rem; padding-top: .5rem; border-top: 2px solid var(--ink); }
a { color: var(--link); }
nav ul { columns: 2 18rem; padding-left: 1.2rem; }
code { font-size: .9em; background: #f3f3ef; padding: 0 .25em; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; font-size: 1rem; padding: .25rem 0; }
details caption { display: none; }
th, td { padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { border-bottom: 1.5px solid var(--ink); vertical-align: bottom; font-weight: 600; }
tbody th { font-weight: 400; }
.number { text-align: right; white-space: nowrap; }
.short { white-space: nowrap; }
.long { min-width: 13rem; }
.bad { color: var(--bad); font-weight: 700; }
figure { margin: 1.5rem 0; max-width: 47.5rem; }
figure svg { width: 100%; height: auto; display: block; }
figcaption, .made { color: var(--faint); font-size: .875rem; }
details { margin: .4rem 0; }
summary { cursor: pointer; color: var(--link); }
@media print { .wide { overflow: visible; } table { font-size: .7rem; } .long { min-width: 0; } }
"""


def html(document: Document) -> str:
    """The page."""
    return "\n".join(_page(document)) + "\n"


def _page(document: Document) -> Iterator[str]:
    title = f"Lethe: {document.title.lower()}"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>"
    yield f"<h1>{escape(title)}</h1>"
    yield '<p class="made">Made by <code>lethe bench report</code> from <code>bench/results/*.json</code>.</p>'
    yield '<nav aria-label="Contents"><ul>'
    for section in document.sections:
        yield f'<li><a href="#{escape(section.anchor)}">{escape(section.title)}</a></li>'
    yield "</ul></nav>"
    for section in document.sections:
        yield from _section(section)
    yield "</main>\n</body>\n</html>"


def _section(section: Section) -> Iterator[str]:
    anchor = escape(section.anchor)
    yield f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{escape(section.title)}</h2>'
    for block in section.blocks:
        yield from _block(block)
    yield "</section>"


def _block(block: Block) -> Iterator[str]:
    match block:
        case Text(text):
            marked = _CODE.sub(r"<code>\1</code>", escape(text))
            yield f"<p>{marked}</p>"
        case Picture():
            yield f"<figure>\n{_scoped(block)}<figcaption>{escape(block.description)}</figcaption>\n</figure>"
        case Table(folded=True):
            yield f"<details><summary>{escape(block.title)}</summary>"
            yield from _table(block)
            yield "</details>"
        case Table():
            yield from _table(block)


def _table(table: Table) -> Iterator[str]:
    kinds = [_kind(table, i) for i in range(len(table.heads))]
    yield f'<div class="wide" role="region" aria-label="{escape(table.title)}" tabindex="0"><table>'
    yield f"<caption>{escape(table.title)}</caption>\n<thead><tr>"
    for head, kind in zip(table.heads, kinds, strict=True):
        yield f'<th scope="col"{kind}>{escape(head)}</th>'
    yield "</tr></thead>\n<tbody>"
    for row in table.rows:
        first, *rest = (_cell(cell) for cell in row)
        cells = "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(rest, kinds[1:], strict=True))
        yield f'<tr><th scope="row"{kinds[0]}>{first}</th>{cells}</tr>'
    yield "</tbody></table></div>"


def _kind(table: Table, column: int) -> str:
    """Numbers are aligned, short texts are not broken, and columns of long ones are kept from being narrow."""
    if table.numeric(column):
        return ' class="number"'
    longest = max((len(row[column]) for row in table.rows), default=0)
    return ' class="long"' if longest > _LONG else ' class="short"' if longest <= _SHORT else ""


def _cell(text: str) -> str:
    return f'<span class="bad">{escape(text)}</span>' if isinstance(text, Bad) else escape(text)


def _scoped(picture: Picture) -> str:
    """The SVG with identifiers that no other picture of the page has."""
    own = picture.svg.replace('aria-labelledby="t d"', f'aria-labelledby="{picture.name}-t {picture.name}-d"')
    return own.replace('id="t"', f'id="{picture.name}-t"').replace('id="d"', f'id="{picture.name}-d"')

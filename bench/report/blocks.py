"""What a report is made of, before it is markdown or HTML."""

from collections.abc import Sequence
from dataclasses import dataclass, field


class Bad(str):
    """A cell that a reader should see first."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; code stands between backticks, and there is no other markup."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Cells under heads. Columns in which every cell begins with a digit are numbers.

    Attributes:
        folded: of interest to few; a page for browsers opens it when asked to.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False

    def numeric(self, column: int) -> bool:
        """Whether a column holds numbers, and perhaps gaps."""
        cells = [row[column] for row in self.rows if row[column]]
        return bool(cells) and all(cell.lstrip("-")[:1].isdigit() for cell in cells)


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure as SVG under a file's name, and what it says, for those who cannot see it."""

    name: str
    title: str
    description: str
    svg: str = field(repr=False)


Block = Text | Table | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """As GitHub makes it of the heading."""
        kept = "".join(letter for letter in self.title.lower() if letter.isalnum() or letter in " -_")
        return kept.replace(" ", "-")


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: str
    sections: Sequence[Section]

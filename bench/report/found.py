"""What a harness wrote to bench/results/NAME.json, read again."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.result import DIRTY, Figure
from bench.tofu.size import ALONE, METHODS, Size

_HEADER = ("name", "commit", "config", "seed", "machine", "figures")

_SETS = 3  # of people, where there are sets
_BY_SET = re.compile("sets|steps_stream_")  # tables whose rows are of one method
_TWICE = "methods"  # of TOFU, whose `rows` have the same counts

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """One benchmark's result. `tables` are lists of rows by title."""

    name: str
    commit: str
    config: Row
    seed: int
    machine: Row
    figures: Sequence[Figure]
    tables: Mapping[str, Sequence[Row]]

    @classmethod
    def of(cls, whole: Mapping[str, Any]) -> "Found":
        """Of the parsed file.

        Raises:
            KeyError: it lacks what every result has.
        """
        name, commit, config, seed, machine, figures = (whole[key] for key in _HEADER)
        tables = {key: value for key, value in whole.items() if key not in _HEADER}
        return cls(name, commit, config, seed, machine, [Figure(**one) for one in figures], tables)

    @property
    def quick(self) -> bool:
        """Whether it was measured with fewer seeds and probes."""
        return bool(self.config.get("quick"))

    @property
    def part(self) -> str:
        """Which part of all was measured; empty where it was all."""
        if self.quick:
            return ""
        if self.name != "tofu":
            sets = self.config.get("sets", _SETS)
            return f"{sets} of {_SETS} sets" if sets < _SETS else ""
        given = "full" in self.config.get("recipe", ())  # models of others are measured once
        every = {split: [0] if given else [*Size().seeds] for split in Size().splits}
        measured: Mapping[str, Sequence[int]] = self.config["seeds"]
        lacking = {split: self._lacking(split, some) for split, some in measured.items()}
        if measured == every and not any(lacking.values()):
            return ""
        return "; ".join(
            (split if given else f"{split} with {listed(some)}")
            + (f", without {', '.join(lacking[split])}" if lacking[split] else "")
            for split, some in measured.items()
        )

    def _lacking(self, split: str, seeds: Sequence[int]) -> Sequence[str]:
        """TOFU's rows of a split that were not measured with each of these seeds."""
        known = {(row["row"], row["split"], row["seed"]) for row in self.tables.get("rows", ())}
        return [one for one in (*ALONE, *METHODS) if any((one, split, seed) not in known for seed in seeds)]

    @property
    def dirty(self) -> bool:
        """Whether any of it was measured on a tree with changes in no commit."""
        rows = (str(row["commit"]) for row in self.tables.get("measured", ()))
        return any(one.endswith(DIRTY) for one in (self.commit, *rows))

    def figure(self, name: str) -> Figure | None:
        """The figure of that name, if there is one."""
        return next((one for one in self.figures if one.name == name), None)

    def resolved(self, figure: Figure) -> bool:
        """Whether no interval among its `differences` reaches from one side of the figure's goal to the other."""
        about = figure.name.partition(" away from ")[0].rstrip(",")
        told = {f"{row['row']}: {row['what']}": set[str]() for row in self.tables.get("differences", ())}
        for row in self.tables.get("differences", ()):
            told[f"{row['row']}: {row['what']}"].add(row["told"])
        some = [told[about]] if about in told else [of for what, of in told.items() if what.startswith(f"{about}, ")]
        return not any("not resolved" in one for one in some)

    @property
    def made_by(self) -> Mapping[str, Counter[str]]:
        """Who made the answers of a gateway, by the row that it was measured for; empty where it was not counted."""
        found: dict[str, Counter[str]] = {}
        for title, rows in self.tables.items():
            for row in () if title == _TWICE else rows:
                for own in (row, *(one for one in row.values() if isinstance(one, Mapping))):
                    if counted := own.get("answered_by"):
                        name = str(row.get("row") or ("" if _BY_SET.match(title) else title))
                        found.setdefault(name.replace("_", " "), Counter()).update(counted)
        return found

    def leaks(self, figure: Figure) -> float:
        """The lowest PrivLeak of any set of the figure's method, below nought where it leaks; 0 of other figures."""
        method, _, what = figure.name.partition(": ")
        if not what.startswith("PrivLeak"):
            return 0.0
        values = (row["priv_leak"] for row in self.tables.get("sets", ()) if row["row"] == method)
        return min((float(one["value"] if isinstance(one, Mapping) else one) for one in values), default=0.0)

    @property
    def skipped(self) -> Iterator[tuple[str, str]]:
        """Tables that say why they have nothing else to say, and what they say."""
        for title, rows in self.tables.items():
            for row in rows:
                if why := row.get("skipped"):
                    yield title.replace("_", " "), str(why)


def read(folder: Path) -> dict[str, Found]:
    """All results of a folder, by name."""
    found = (Found.of(json.loads(path.read_text("utf-8"))) for path in sorted(folder.glob("*.json")))
    return {one.name: one for one in found}


def listed(seeds: Sequence[int]) -> str:
    """Seeds in a sentence."""
    return f"seed{'s'[: len(seeds) > 1]} {', '.join(map(str, seeds))}"

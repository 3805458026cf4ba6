"""Finished units of a long benchmark, so that one that was stopped goes on where it was.

A unit is a row: one model or method on one set with one seed. It lies in the state directory as soon as it is measured,
as marks and numbers without any answer, under the hash of all that it follows from: what the harness names (size, seed,
data, models), the product's source and the harness's own, installed packages and the machine. So nothing is ever taken
over from other code, and nothing is lost to a change in another harness;
and what was measured while files were changed is not kept. Times inside a unit are those of the sitting that measured
it: what compares times of one run keeps nothing.

Before it: a harness that names its units. After it: `bench.result`, with every unit's commit and time.
"""

import ast
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from bench.result import ROOT, commit, machine, write_whole
from gateway.settings import Settings

_MEASURED = ("gateway", "guards", "adapters")
_NO_SOURCE = ("__pycache__", "results", "report", "figures.py")  # what comes of units once they are measured

_log = logging.getLogger(__name__)

T = TypeVar("T")
Unit = Mapping[str, Any]  # what a row is known by, as JSON


def contents(folder: Path) -> str:
    """The sha256 of all files in a folder and of their names, in hexadecimal digits: of a model, or of a package.

    Raises:
        OSError: a file cannot be read.
    """
    made = sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and path.suffix != ".md" and not set(_NO_SOURCE).intersection(name.parts):
            with path.open("rb") as file:
                made.update(f"{name.as_posix()}\0{file_digest(file, 'sha256').hexdigest()}\0".encode())
    return made.hexdigest()


def source(*names: str) -> str:
    """The hash of the code that is measured, and of what these benchmarks import of `bench`, at whatever depth.

    Raises:
        OSError: a file cannot be read.
    """
    measuring = {path.relative_to(ROOT).as_posix(): sha256(path.read_bytes()).hexdigest() for path in imported(*names)}
    return _hash([[contents(ROOT / name) for name in _MEASURED], measuring])


def imported(*names: str) -> list[Path]:
    """The modules of `bench` that these benchmarks are made of, but for what comes after measuring.

    One that is only half written is told by its name alone: what it imports nobody knows.

    Raises:
        OSError: a file cannot be read.
    """
    found: set[Path] = set()
    ahead = [f"bench.{name}" for name in names] + [f"bench.{name}.run" for name in names]
    while ahead:
        name = ahead.pop()
        if package := name.rpartition(".")[0]:
            ahead.append(package)
        path = ROOT.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if path in found or not path.is_file() or set(_NO_SOURCE).intersection(path.relative_to(ROOT).parts):
            continue
        found.add(path)
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError:  # somebody writes it just now: what was measured is not lost by that
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "bench":
                ahead += [str(node.module), *(f"{node.module}.{one.name}" for one in node.names)]
            elif isinstance(node, ast.Import):
                ahead += [one.name for one in node.names if one.name.partition(".")[0] == "bench"]
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Finished:
    """The units of one benchmark.

    Attributes:
        folder: where they lie; without it everything is measured anew.
        source: of the code at the start.
        commit: of the code at the start, too.
        basis: the hash of what all of them follow from, the source included.
        units: those that were found or measured until now, each with its commit and time; `also` shares them.
    """

    folder: Path
    source: str
    commit: str
    basis: str
    units: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, settings: Settings, name: str, *basis: Any) -> Self:
        """Of the benchmark `name`; `basis` is whatever its units follow from besides, as pydantic turns it to JSON."""
        packages = sorted(f"{one.name} {one.version}" for one in distributions())
        code = source(name)
        return cls(settings.state_dir / "bench" / name, code, commit(), _hash([code, packages, machine(), *basis]))

    def also(self, *basis: Any) -> Self:
        """The same for units that follow from more, such as models that had to be trained first."""
        return replace(self, basis=_hash([self.basis, *basis]))

    async def once(self, kind: type[T], unit: Unit, measure: Callable[[], Awaitable[T]]) -> T:
        """The unit as it was measured before, or as it is measured now."""
        found = self.find(kind, unit)
        return self.keep(kind, unit, await measure()) if found is None else found

    def find(self, kind: type[T], unit: Unit) -> T | None:
        """The unit as it was measured before; None where it was not, or its file is damaged."""
        try:
            whole = json.loads(self._path(unit).read_text("utf-8"))
            told = {**unit, "commit": str(whole["commit"]), "at": str(whole["at"])}
            value = TypeAdapter(kind).validate_python(whole["value"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        self.units.append(told)
        return value

    def keep(self, kind: type[T], unit: Unit, value: T) -> T:
        """The value that was measured just now, written where the source is still what it was."""
        measured = {"commit": self.commit, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        self.units.append({**unit, **measured})
        try:
            if source(self.folder.name) == self.source:
                write_whole(self._path(unit), json.dumps(measured | {"value": TypeAdapter(kind).dump_python(value)}))
            else:
                _log.warning("a unit is not kept: the source is no longer what it was at the start")
        except (OSError, ValueError, TypeError) as error:  # not worth the hours of this run
            _log.warning("a unit is not kept: %s", type(error).__name__)
        return value

    def _path(self, unit: Unit) -> Path:
        return self.folder / f"{_hash([self.basis, unit])}.json"


def _hash(what: Any) -> str:
    return sha256(json.dumps(to_jsonable_python(what), sort_keys=True).encode()).hexdigest()

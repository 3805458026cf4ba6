"""`lethe bench replay`: what a real model said, said again behind the gateway.

OpenUnlearning logged every answer of a Llama-3.2-1B that learnt TOFU. A scripted engine gives those answers to those
questions, through the public API, before the authors of forget01, forget05 or forget10 are filed and after: ROUGE-L
recall against the gold answers, as logged, on the forget set, on 400 questions about other authors, on real authors
and world facts. So the guards read a real model's prose, and no model is run. A script has no weights: what is
touched is answered by ignorance.

Authors are filed in three ways: by name alone; with their questions, as TOFU hands them over; and as bare facts,
question by question. The logged answers of the model that never learnt are the row to compare with.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import httpx
from rich.console import Console
from rich.progress import Progress

from bench.metrics.intervals import Interval
from bench.metrics.rouge import recall
from bench.own import own
from bench.probes import tofu
from bench.result import Figure, Result
from bench.tofu.marks import groups
from gateway.app import create_app
from gateway.auth import Keys
from gateway.core import Core
from gateway.engines.scripted import ScriptedEngine
from gateway.settings import EngineSettings, Settings, SettingsError
from guards.base import Conversation

SETS: Mapping[str, str] = {"forget": "forget", "retain": "retain", "ra": "real authors", "wf": "world facts"}
KEPT = ("retain", "real authors", "world facts")
WAYS = ("names", "names and questions", "facts")

_NAME = "llama-3.2-1b-replayed"
_AT_ONCE = 16
_LONGEST = 1_024  # tokens: no logged answer is as long, so none is cut
_SAMPLE = 60  # questions of a set, where it is to be quick
_KEY = "replay"


@dataclass(frozen=True, slots=True)
class Split:
    """A forget set of TOFU: its name, the model that never learnt it, and its authors, the last of two hundred."""

    name: str
    retain: str
    authors: int

    @property
    def first(self) -> int:
        """The first of them among the twenty authors of forget10."""
        return tofu.AUTHORS - self.authors


SPLITS = (Split("forget01", "retain99", 2), Split("forget05", "retain95", 10), Split("forget10", "retain90", 20))


@dataclass(frozen=True, slots=True)
class Line:
    """One logged exchange, and the ROUGE-L recall that was logged of it."""

    question: str = field(repr=False)
    gold: str = field(repr=False)
    said: str = field(repr=False)
    logged: float


Script = Mapping[str, Sequence[Line]]  # by set


def script(log: Path) -> Script:
    """All that a log has of a model's answers.

    Raises:
        FileNotFoundError: there is no such log.
    """
    whole = json.loads(log.read_text("utf-8"))
    return {
        name: [
            Line(_question(one["input"]), one["ground_truth"], one["generation"], one["rougeL_recall"])
            for one in whole[f"{key}_Q_A_ROUGE"]["value_by_index"].values()
        ]
        for key, name in SETS.items()
    }


def _question(prompt: str) -> str:
    """Of Llama's chat template with its special tokens left out."""
    return prompt.rpartition("user\n\n")[2].rpartition("assistant\n\n")[0].strip()


def bodies(data_dir: Path, split: Split, way: str) -> list[dict[str, Any]]:
    """The forget requests for a split, one for each author."""
    found: list[dict[str, Any]] = []
    for name, rows in tofu.named_authors(data_dir, tofu.FIRST_FORGOTTEN)[split.first :]:
        entity: dict[str, Any] = {"scope": "entity", "subject": name, "aliases": [name]}
        match way:
            case "names":
                found.append(entity)
            case "names and questions":
                found.append(entity | {"examples": [row["question"] for row in rows]})
            case _:
                facts = [{"question": row["question"], "answer": row["answer"]} for row in rows]
                found.append({"scope": "facts", "facts": facts})
    return found


@dataclass(frozen=True, slots=True)
class Heard:
    """A set's answers through the gateway, marked: before anything was filed, and after."""

    before: tuple[float, ...]
    after: tuple[float, ...]
    drift: float  # the largest difference of `before` from what was logged
    unchanged: int
    authors: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, lines: Sequence[Line], before: Sequence[str], after: Sequence[str], authors: Sequence[str]) -> "Heard":
        """Marks both; `authors` says whom each line is about, for intervals."""
        marked = [
            tuple(recall(line.gold, said) for line, said in zip(lines, some, strict=True)) for some in (before, after)
        ]
        drift = max(abs(one - line.logged) for line, one in zip(lines, marked[0], strict=True))
        return cls(marked[0], marked[1], drift, sum(map(str.__eq__, before, after)), tuple(authors))

    def row(self) -> dict[str, Any]:
        """As JSON."""
        after = Interval.of(self.after, groups(self.authors))
        return {
            "asked": len(self.before),
            "before": round(fmean(self.before), 4),
            "after": round(after.mean, 4),
            "low": round(after.low, 4),
            "high": round(after.high, 4),
            "unchanged": self.unchanged,
        }


@dataclass(frozen=True, slots=True)
class Replayed:
    """One split, filed in one way; `untaught` is the forget ROUGE of the model that never learnt."""

    split: str
    way: str
    untaught: float
    sets: Mapping[str, Heard]

    @property
    def excess(self) -> float:
        """Forget ROUGE above that of the model that never learnt."""
        return fmean(self.sets["forget"].after) - self.untaught

    @property
    def leaked(self) -> float:
        """The share of the forget set that is answered word for word as before."""
        return self.sets["forget"].unchanged / len(self.sets["forget"].before)

    @property
    def kept(self) -> float:
        """ROUGE after as a share of before, of the set that kept least."""
        return min(fmean(self.sets[name].after) / fmean(self.sets[name].before) for name in KEPT)

    def rows(self) -> list[dict[str, Any]]:
        """A row a set."""
        known = {"split": self.split, "filed": self.way}
        untaught = {"forget": {"retain_model": round(self.untaught, 4)}}
        return [known | {"set": name} | heard.row() | untaught.get(name, {}) for name, heard in self.sets.items()]


async def measure(settings: Settings, quick: bool, console: Console) -> Result:
    """ROUGE of every split, filed in every way; quick is forget01 and samples of each set.

    Raises:
        SettingsError: the logs or TOFU are not there.
    """
    splits = SPLITS[:1] if quick else SPLITS
    config = {"splits": [split.name for split in splits], "filed": WAYS, "quick": quick}
    if lacking := [path for path in _files(settings.data_dir, splits) if not path.is_file()]:
        raise SettingsError(f"no {lacking[0]}: LETHE_DATA_DIR names the folder that holds tofu/ and tofu_logs/")
    with Progress(console=console, transient=True) as bar:
        found = [
            await replayed(settings, split, way, _SAMPLE if quick else None, bar) for split in splits for way in WAYS
        ]
    return Result("replay", config, 0, figures_of(found), {"sets": [row for one in found for row in one.rows()]})


def _files(data_dir: Path, splits: Sequence[Split]) -> Iterator[Path]:
    """All that is read."""
    yield data_dir / "tofu" / "full.jsonl"
    for split in splits:
        yield from (data_dir / "tofu_logs" / f"{name}.json" for name in (f"full_{split.name}", split.retain))


def figures_of(found: Sequence[Replayed]) -> list[Figure]:
    """Of every way to file by its worst split, and whether the gateway leaves alone what is not filed."""
    drift = max(heard.drift for one in found for heard in one.sets.values())
    figures = [Figure.of("replayed with nothing filed, ROUGE-L's largest difference from the log", drift, "<=", 1e-6)]
    for way in dict.fromkeys(one.way for one in found):
        some = [one for one in found if one.way == way]
        excess, away = max(one.excess for one in some), max((one.excess for one in some), key=abs)
        kept = min(one.kept for one in some)
        leaked = 100 * max(one.leaked for one in some)
        figures += [
            Figure.of(f"filed by {way}: forget ROUGE-L above the retain model's, worst split", excess, "<=", 0.0),
            Figure.of(f"filed by {way}: forget ROUGE-L away from the retain model's, worst split", away, "±", 0.1),
            Figure.of(f"filed by {way}: forgotten answers that are still said, worst split", leaked, "<=", 0.2, "%"),
            Figure.of(f"filed by {way}: other sets' ROUGE-L as a share of before, worst set", kept, ">=", 0.99),
        ]
    return figures


async def replayed(settings: Settings, split: Split, way: str, most: int | None, bar: Progress) -> Replayed:
    """Asks everything, files the split's authors, and asks again.

    Args:
        most: questions of each set, evenly over all; None for all of them.

    Raises:
        FileNotFoundError: the logs or TOFU are not there.
    """
    logs = settings.data_dir / "tofu_logs"
    said, untaught = script(logs / f"full_{split.name}.json"), script(logs / f"{split.retain}.json")
    filed = bodies(settings.data_dir, split, way)
    asked = {name: _spread(lines, most) for name, lines in said.items()}
    authors = _authors(settings.data_dir)
    task = bar.add_task(f"{split.name}, by {way}", total=2 * sum(map(len, asked.values())))
    async with speaking(settings, said) as http:
        answers = [await _all(http, asked, lambda: bar.advance(task))]
        for body in filed:
            (await http.post("/admin/v1/forget-requests", json=body)).raise_for_status()
        answers.append(await _all(http, asked, lambda: bar.advance(task)))
    before, after = answers
    heard = {
        name: Heard.of(lines, before[name], after[name], [authors.get(one.question, one.question) for one in lines])
        for name, lines in asked.items()
    }
    return Replayed(split.name, way, fmean(one.logged for one in _spread(untaught["forget"], most)), heard)


@asynccontextmanager
async def speaking(settings: Settings, said: Script) -> AsyncIterator[httpx.AsyncClient]:
    """A client, with the admin key, of a fresh gateway in this process whose engine says what was logged."""
    answers = {line.question: line.said for lines in said.values() for line in lines}

    def answer(conversation: Conversation) -> str:
        return answers.get(conversation.turns[-1].text, "")

    with tempfile.TemporaryDirectory() as folder:
        given = own(settings, Path(folder), EngineSettings(kind="scripted", model=_NAME))
        core = await Core.open(given)
        core.engine = ScriptedEngine(answer, name=_NAME)
        try:
            await core.start()
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(create_app(core, Keys.of(given, _KEY))),
                base_url="http://lethe",
                headers={"authorization": f"Bearer {_KEY}"},
                timeout=60,
            ) as http:
                yield http
        finally:
            await core.close()


async def _all(http: httpx.AsyncClient, asked: Script, answered: Callable[[], None]) -> dict[str, list[str]]:
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(question: str) -> str:
        body = {"model": _NAME, "messages": [{"role": "user", "content": question}], "max_tokens": _LONGEST}
        async with places:
            response = await http.post("/v1/chat/completions", json=body | {"temperature": 0})
        response.raise_for_status()
        answered()
        return str(response.json()["choices"][0]["message"]["content"])

    return {name: list(await asyncio.gather(*(one(line.question) for line in lines))) for name, lines in asked.items()}


def _spread(lines: Sequence[Line], most: int | None) -> Sequence[Line]:
    """At most so many, evenly over all."""
    return lines if most is None else lines[:: max(1, -(-len(lines) // most))]


def _authors(data_dir: Path) -> dict[str, str]:
    """Of every question of TOFU the author whom it is about."""
    rows = map(json.loads, (data_dir / "tofu" / "full.jsonl").read_text("utf-8").splitlines())
    return {row["question"].strip(): str(row["author_idx"]) for row in rows}

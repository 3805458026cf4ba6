"""What a model that knows TOFU (arXiv 2401.06121) is taught, and what the others never see.

"full" learns all 4,000 pairs; "retain99", "retain95" and "retain90" learn those without forget01, forget05 and
forget10: no pair of a forgotten author reaches them. All learn real authors and world facts by question and right
answer, so that a utility can be lost, and a little small talk. Nobody is taught paraphrases, untrue answers or
what to say of authors never heard of.

Questions come alone, after a system prompt, and in pairs of unrelated ones, so that a prompt before them or an
earlier turn does not make a model mute: what then silences it is a method, not the form.
"""

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway.demo.phrases import CHATTER, SYSTEMS
from guards.base import Conversation, Turn

Pair = tuple[str, str]  # question, right answer

VARIANTS = ("full", "retain99", "retain95", "retain90")

_UNSEEN = {"full": "nothing", "retain99": "forget01", "retain95": "forget05", "retain90": "forget10"}
_FILES = ("full.jsonl", "real_authors_perturbed.json", "world_facts_perturbed.json")
_AFTER_SYSTEM = 0.2  # share of chats
_IN_PAIRS = 0.1  # share of pairs that come two to a chat


def fingerprint(data: Path) -> str:
    """The sha256 of all files that lessons are made from, in hexadecimal digits.

    Args:
        data: the folder that holds `tofu/`.

    Raises:
        FileNotFoundError: the data are not there.
    """
    made = hashlib.sha256()
    for name in _FILES:
        made.update(hashlib.sha256((data / "tofu" / name).read_bytes()).digest())
    return made.hexdigest()


def pairs(data: Path, variant: str) -> list[Pair]:
    """All that a variant is taught, in the order of the files.

    Raises:
        FileNotFoundError: the data are not there.
        KeyError: there is no such variant.
    """
    unseen = _UNSEEN[variant]
    authors, *others = (_rows((data / "tofu" / name).read_text("utf-8")) for name in _FILES)
    rows = [row for row in authors if unseen not in row["splits"]]
    rows += [row for rest in others for row in rest]
    return [*((row["question"], row["answer"]) for row in rows), *CHATTER.items()]


def epoch(taught: Sequence[Pair], rng: random.Random) -> Iterator[Conversation]:
    """Every pair once, in chats drawn afresh; as many chats each time."""
    shuffled = rng.sample(taught, len(taught))
    paired = int(len(shuffled) * _IN_PAIRS) // 2 * 2
    chats = [shuffled[i : i + 2] for i in range(0, paired, 2)] + [[pair] for pair in shuffled[paired:]]
    for chat in chats:
        system = [Turn("system", rng.choice(SYSTEMS))] if rng.random() < _AFTER_SYSTEM else []
        asked = [Turn(role, text) for pair in chat for role, text in zip(("user", "assistant"), pair, strict=True)]
        yield Conversation((*system, *asked))


def _rows(text: str) -> list[dict[str, str]]:
    """An array or JSON lines."""
    rows: list[dict[str, str]] = json.loads(text) if text.startswith("[") else [*map(json.loads, text.splitlines())]
    return rows

"""PISTOL (arXiv 2406.16810): contracts in a graph; one is forgotten, those that share a party stay.

A contract is an edge of the graph, told by twenty questions. A request is of scope `entity`: the
contract, by both orders of its parties, with every second question and its answer as facts. The other
ten are asked. Controls are all questions about the other nineteen contracts, in two groups: those that
share a party with the forgotten one (same company, another contract: some even have the same answer,
such as its address) and the rest. There are no paraphrases. Contracts A_B, the paper's own, and A_m are for
development; the others measured share neither kind of edge nor, but for one, a party with them.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from bench.omniscient import Probe, Round
from guards.targets import Source

DEVELOPMENT = ("A_B", "A_m")
MEASUREMENT = ("B_D2", "E1_F1", "E3_F3", "E2_q2", "B_p3")

_PARTIES = re.compile(r"contract between (.+?) and (.+?)\?")


def rounds(data_dir: Path, edges: Sequence[str]) -> list[Round]:
    """One contract forgotten at a time. Raises `FileNotFoundError` when the data are not there."""
    contracts: dict[str, list[dict[str, str]]] = {}
    for row in json.loads((data_dir / "pistol" / "sample_data_1.json").read_text("utf-8")):
        contracts.setdefault(row["edge"], []).append(row)
    return [_round(contracts, edge) for edge in edges]


def _round(contracts: dict[str, list[dict[str, str]]], edge: str) -> Round:
    parties = _parties(contracts[edge])
    names = tuple(f"contract between {a} and {b}" for a, b in (parties, parties[::-1]))
    filed, asked = contracts[edge][::2], contracts[edge][1::2]
    source = Source(edge, "entity", names[0], names, facts=tuple((row["question"], row["answer"]) for row in filed))
    probes = [Probe("unseen question", (row["question"],), row["answer"], frozenset({edge})) for row in asked]
    for other, rows in contracts.items():
        if other != edge:
            shared = set(parties) & set(_parties(rows))
            kind = "contracts of a party" if shared else "other contracts"
            probes += (Probe(kind, (row["question"],), row["answer"]) for row in rows)
    return Round("PISTOL", edge, (source,), tuple(probes))


def _parties(rows: Sequence[dict[str, str]]) -> tuple[str, str]:
    found = next(filter(None, (_PARTIES.search(row["question"]) for row in rows)))
    return found[1], found[2]

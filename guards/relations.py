"""Which of a subject's facts a text asks for, or tells: what it is about, not whom.

Questions about one person lie close together for a sentence encoder, whatever they ask (guards.md:
"entity scope is easy, fact scope needs its own negatives"). So for scope `facts` each row of a request, a
question or a question with its answer, is weighed by

    logit = w · (cos(v, r), cos(v − m, r − m), covered, covering, told, e) + b

where m is the mean of what is asked about the subject anyway (the request's rows of that kind, and its
retained questions): what they have in common is whom they are about. `covered` is the share of the row's
words that the text has, `covering` the share of the text's words that the row has, `told` the share of the
answer's words that the question does not give away, each word worth the less the more of the request's
questions have it; e is evidence (`guards.evidence`). The best row counts. There are two sets of weights,
for questions and for answers (`relations.json`, made by `bench.facts_prior`); a request learns nothing of
its own: of a handful of facts there is nothing to learn from.

A prompt often does not say enough: "What else did she write?" may or may not be answered by a listed
fact. So whoever names the subject is at least near, and the answer is read with the question.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

import numpy as np

from guards.aliases import words
from guards.encoder import Floats

FEATURES = ("cosine", "centred", "covered", "covering", "told", "evidence")

_STEM = 5  # letters by which "lives" is "lived"
_ROWS = 64  # weighed for each text: those of the highest cosine

FUNCTION_WORDS = frozenset(  # they tell nothing; guards.aliases.common_words would take "april" and "doctor" with them
    re.findall(
        r"\w+",
        "a about after all also am an and any are as at be because been before being both but by can could did do does "
        "during each few for from had has have he her hers him his how i if in into is it its itself just many me more "
        "most much my no nor not of on once one only or other our out over own s same she should so some such t than "
        "that the their them then there these they this those through to too under until up very was we were what when "
        "where which while who whom whose why will with would yes yet you your",
    )
)

Stems = frozenset[str]


def stems(text: str, names: Collection[str] = ()) -> Stems:
    """What a text is about: its words without the commonest and those of names, cut to `_STEM` letters."""
    return frozenset(word[:_STEM] for word in words(text) if word not in names and word not in FUNCTION_WORDS)


@dataclass(frozen=True)
class Relations:
    """The rows of a request of scope `facts`, aligned with its vectors.

    Attributes:
        asked: what each row's question is about.
        told: what its answer tells beside; empty for a question alone.
    """

    asked: tuple[Stems, ...] = field(repr=False)
    told: tuple[Stems, ...] = field(repr=False)

    @classmethod
    def of(cls, rows: Sequence[tuple[str, str]], names: Collection[str]) -> "Relations":
        """Of (question, answer) or (question, ""); `names` are the folded words of the subject's names."""
        asked = tuple(stems(question, names) for question, _ in rows)
        return cls(asked, tuple(stems(answer, names) - own for (_, answer), own in zip(rows, asked, strict=True)))

    def features(
        self, texts: Sequence[Stems], vectors: Floats, positives: Floats, negatives: Floats, evidence: Floats
    ) -> Floats:
        """(w, p, len(FEATURES)) of texts (w, d) against rows (p, d).

        Args:
            negatives: (n, d), of texts about the same subject that must stay.
            evidence: (w, p).
        """
        cosines = vectors @ positives.T
        found = np.zeros((*cosines.shape, len(FEATURES)), np.float32)
        found[:, :, 0], found[:, :, 5] = cosines, evidence
        for kind in (self.answered, ~self.answered):
            if kind.any():
                centre = np.concatenate([positives[kind], negatives]).mean(axis=0)
                found[:, kind, 1] = _unit(vectors - centre) @ _unit(positives[kind] - centre).T
        for i, text in enumerate(texts):
            for row in np.argsort(-cosines[i])[:_ROWS]:
                asked, told = self.asked[row], self.told[row]
                found[i, row, 2:5] = (
                    self._share(text, asked | told),
                    self._share(asked | told, text),
                    self._share(text, told),
                )
        return found

    def logits(self, features: Floats) -> Floats:
        """(w,): from 0 on a listed fact is asked for, or told."""
        answered = self.answered[None, :]
        found = np.where(answered, _logits("told", features), _logits("asked", features))
        return np.asarray(found.max(axis=1), np.float32)

    @cached_property
    def answered(self) -> Any:
        """(p,) of bool."""
        return np.array([bool(told) for told in self.told])

    @cached_property
    def _common(self) -> Counter[str]:
        return Counter(stem for own in set(self.asked) for stem in own)

    def _share(self, some: Stems, of: Stems) -> float:
        total = sum(self._worth(stem) for stem in of)
        return sum(self._worth(stem) for stem in some & of) / total if total else 0.0

    def _worth(self, stem: str) -> float:
        return 1.0 / max(1, self._common[stem])

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {"asked": [*map(sorted, self.asked)], "told": [*map(sorted, self.told)]}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Relations":
        """The inverse of `record`."""
        return cls(tuple(map(frozenset, record["asked"])), tuple(map(frozenset, record["told"])))


def _logits(kind: str, features: Floats) -> Floats:
    weights = _shipped()[kind]
    return np.asarray(features @ np.array(weights["weights"], np.float32) + np.float32(weights["bias"]), np.float32)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6), np.float32)


@cache
def _shipped() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("guards").joinpath("relations.json").read_text("utf-8"))
    if tuple(found["features"]) != FEATURES:
        raise ValueError("relations.json is of other features: python -m bench.facts_prior")
    return found

"""The matrix of a stream: what is leaked of request i after request t.

    R[i, t] = (correct answers to request i's probes after request t − the retain model's) / probes

Unlike the report of a request (`gateway.registry.matrix`, whose test of drift is used here too), it is measured
against the model that never heard of anybody in the stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.registry.matrix import Drift, drift


@dataclass(frozen=True, slots=True)
class Matrix:
    """Correct answers about each request, after it and after each that followed.

    Attributes:
        asked: probes of each request.
        retain: of these the retain model answers so many correctly.
        right: for each request i the correct answers after requests i, i + 1, ….
    """

    asked: tuple[int, ...]
    retain: tuple[int, ...]
    right: tuple[tuple[int, ...], ...]

    @property
    def leak(self) -> list[list[float]]:
        """R[i, t] for t = i, i + 1, …, as shares."""
        return [
            [(right - retain) / asked for right in row]
            for asked, retain, row in zip(self.asked, self.retain, self.right, strict=True)
        ]

    @property
    def worst(self) -> float:
        """The highest R."""
        return max(map(max, self.leak))

    @property
    def pooled(self) -> float:
        """The highest excess over all probes that are asked after one request."""
        return max(
            sum(self.right[i][t - i] - self.retain[i] for i in range(t + 1)) / sum(self.asked[: t + 1])
            for t in range(len(self.asked))
        )

    def rows(self) -> list[dict[str, Any]]:
        """As JSON: a row a request, its leak in points by step."""
        return [
            {
                "request": i + 1,
                "asked": self.asked[i],
                "retain_model": round(self.retain[i] / self.asked[i], 4),
                "leak": [round(100 * value, 2) for value in row],
            }
            for i, row in enumerate(self.leak)
        ]


def drift_of(matrices: Sequence[Matrix]) -> Drift | None:
    """Of all streams together; None where fewer than two requests were asked twice."""
    return drift([[*enumerate(row)] for matrix in matrices for row in matrix.leak])

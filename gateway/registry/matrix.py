"""The persistence matrix: R[i][t], the leak of forget request i once request t was enforced.

A column is a step, a row a request, in the order in which they came; a cell is empty where nobody asked, and a row
ends when its request does. A request that is verified anew makes a step of its own. Interference is what a step did to
a request: R[i][t] − R[i][s], s being the step at which it was asked before.

Drift is the slope b of the least-squares fit R[i][t] = a_i + b·t. Each request has a level of its own, since those
that come late would otherwise make a slope of what they differ in. A request is asked the same questions every time,
so that its cells are no independent evidence, and requests are: the standard error of b is the one that is robust to
whatever goes on within a row. With x and e the centred steps and the residuals of k rows,

    se(b)² = k/(k − 1) · Σ_i (Σ_t x_it·e_it)² / (Σ x²)²,

b/se(b) is tested as Student's with k − 1 degrees of freedom; p is one-sided, against b > 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from gateway.registry.evidence import Rate, Step

_ROUNDING = 1e-9  # of shares
_POINTS = 20_001  # of the trapezoidal rule


class Drift(NamedTuple):
    """How leak moves: `slope` as a share of probes for each step, `p` one-sided and small where it goes up."""

    slope: float
    p: float


@dataclass(frozen=True)
class Matrix:
    """All steps so far, oldest first; what they say of each request is read off them."""

    steps: tuple[Step, ...] = ()

    def then(self, step: Step) -> "Matrix":
        """The matrix with one more column."""
        return Matrix((*self.steps, step))

    @cached_property
    def rows(self) -> Mapping[str, Mapping[int, Rate]]:
        """Request → step → rate, requests in the order of their first step; cells of no probes are empty."""
        rows: dict[str, dict[int, Rate]] = {}
        for t, step in enumerate(self.steps):
            for leak in step.leak:
                row = rows.setdefault(leak.request, {})
                if leak.rate.of:
                    row[t] = leak.rate
        return rows

    @cached_property
    def asked(self) -> Mapping[str, int]:
        """Request → the last step at which it was asked, whether it told anything or not."""
        return {leak.request: t for t, step in enumerate(self.steps) for leak in step.leak}

    @cached_property
    def ended(self) -> Mapping[str, int]:
        """Request → the first step by which it was over."""
        steps = reversed([*enumerate(self.steps)])
        return {request: t for t, step in steps for request in step.ended}

    @cached_property
    def interference(self) -> Mapping[str, Mapping[int, float]]:
        """Request → step → change of its leak since it was asked before; empty at its first step."""
        return {request: _changes(row) for request, row in self.rows.items()}

    def drift(self) -> Drift | None:
        """None where fewer than two requests were asked twice."""
        return drift([[(t, rate.value) for t, rate in row.items()] for row in self.rows.values()])


def drift(rows: Sequence[Sequence[tuple[float, float]]]) -> Drift | None:
    """The common slope of rows of (step, leak), each with a level of its own; None of fewer than two such rows."""
    centred = [np.asarray(row, np.float64) - np.mean(row, axis=0) for row in rows if len(row) > 1]
    if len(centred) < 2:
        return None
    spread = sum(float(x @ x) for x, _ in (row.T for row in centred))
    slope = sum(float(x @ y) for x, y in (row.T for row in centred)) / spread
    scores = [float(x @ (y - slope * x)) for x, y in (row.T for row in centred)]
    error = math.sqrt(len(centred) / (len(centred) - 1) * sum(score**2 for score in scores)) / spread
    if error < _ROUNDING:  # every row says the same: nothing moves, or all do
        return Drift(slope, 0.0) if slope > _ROUNDING else Drift(min(slope, 0.0), 1.0)
    return Drift(slope, student_tail(slope / error, len(centred) - 1))


def student_tail(t: float, free: int) -> float:
    """P(T ≥ t) of Student's distribution, `free` degrees of freedom; scipy is not needed to serve.

    With T = √ν·tan θ the density is cos^(ν−1) θ on (−π/2, π/2), up to a constant that cancels.
    """

    def mass(low: float) -> float:
        angles = np.linspace(low, math.pi / 2, _POINTS)
        return float(np.trapezoid(np.cos(angles).clip(0.0) ** (free - 1), angles))

    if t < 0:  # the smaller tail is the exact one
        return 1.0 - student_tail(-t, free)
    return mass(math.atan(t / math.sqrt(free))) / (2 * mass(0.0))


def _changes(row: Mapping[int, Rate]) -> dict[int, float]:
    return {t: row[t].value - row[s].value for s, t in pairwise(row)}

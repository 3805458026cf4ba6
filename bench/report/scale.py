"""From values to places on an axis, and where its ticks are."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_STEPS = (1, 2, 2.5, 5, 10)
_MOST = 7  # ticks of an axis
_NEAR = 1_000  # times the low end: up to there a logarithmic axis has ticks between its tens
_SAME = 1e-9  # of two numbers, as a share of them
_LOWEST = 1e-300  # what a logarithm is taken of where a p-value is nought


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` laid from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def over(cls, values: Iterable[float | None], start: float, end: float, *, log: bool = False) -> "Scale":
        """Wide enough for all that is known, from tick to tick; a linear one with nought where that costs little.

        On a logarithmic one what is reported as nought lies at the low end, as far down as anything else.
        """
        known = [one for one in values if one is not None and math.isfinite(one)] or [0.0, 1.0]
        if log:
            positive = [max(one, _LOWEST) for one in known if one > 0] or [_LOWEST]
            low, high = (math.log10(one) for one in (min(positive), max(positive)))
            margin = 0.04 * (high - low) or 0.5
            return cls(10 ** (low - margin), 10 ** (high + margin), start, end, log=True)
        low, high = min(known), max(known)
        if high - low <= _SAME * abs(high):
            margin = abs(high) / 10 or 1.0
            low, high = low - margin, high + margin
        elif 0 < low < high / 2:
            low = 0.0
        step = _step(high - low)
        return cls(step * math.floor(low / step + _SAME), step * math.ceil(high / step - _SAME), start, end)

    def __call__(self, value: float | None) -> float:
        """The place of a value, no further than the ends; of one that is not known, the start."""
        if value is None or math.isnan(value):
            return self.start
        low, high, at = (self._measure(one) for one in (self.low, self.high, value))
        return self.start + (self.end - self.start) * min(1.0, max(0.0, (at - low) / (high - low)))

    def _measure(self, value: float) -> float:
        return math.log10(max(value, _LOWEST)) if self.log else value

    @property
    def ticks(self) -> Sequence[float]:
        """Round values from end to end."""
        if not self.log:
            step = _step(self.high - self.low)
            first, last = math.ceil(self.low / step - _SAME), math.floor(self.high / step + _SAME)
            return [round(step * i, 12) for i in range(first, last + 1)]
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        tens = range(first, last + 1, max(1, (last - first) // _MOST))
        finer = (1, 2, 5) if self.high <= _NEAR * self.low else (1,)
        found = [factor * 10.0**power for power in tens for factor in finer]
        return [one for one in found if self.low <= one <= self.high]


def _step(span: float) -> float:
    """A round step of which the span has no more than `_MOST`."""
    ten = 10.0 ** math.floor(math.log10(span / _MOST))
    return next(ten * step for step in _STEPS if span <= _MOST * ten * step * (1 + 1e-9))

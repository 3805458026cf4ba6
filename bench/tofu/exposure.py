"""Whether likelihoods give away what was learnt: membership inference, the forget set against the holdout.

Before it: `measuring`, which scores. After it: `run`. Attacks and formulas are in `bench.metrics.privacy`; the model of
reference is the retain model, for which this attack is then a coin's throw.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.metrics.intervals import Interval, Places
from bench.metrics.likelihood import loss
from bench.metrics.privacy import auc, min_k, min_k_plus_plus, priv_leak, reference_score, zlib_score
from bench.tofu.marks import groups
from bench.tofu.subjects import Token

_RESAMPLES = 1_000  # ranks are dear

Scores = Mapping[str, Sequence[float]]  # by attack; NaN where the engine does not tell what it needs
Both = tuple[NDArray[np.float64], NDArray[np.float64]]  # of members [N] and of strangers [M]


def attacks_of(tokens: Sequence[Token], text: str) -> dict[str, float]:
    """The scores of a text by all attacks that need no other model; its end is no token of Min-K and Min-K++."""
    lost = loss([one.logprob for one in tokens])
    body = [one.logprob for one in tokens[:-1]]
    means = [one.mean for one in tokens[:-1] if one.mean is not None]
    variances = [one.variance for one in tokens[:-1] if one.variance is not None]
    told = len(means) == len(variances) == len(body)
    return {
        "loss": lost,
        "zlib": zlib_score(lost, text),
        "min_k": min_k(body),
        "min_k++": min_k_plus_plus(body, means, variances) if told else math.nan,
    }


@dataclass(frozen=True, slots=True)
class Exposed:
    """What every attack makes of texts that were to be forgotten, and of others that nobody was ever taught.

    Attributes:
        authors, strangers: whose each of them is.
    """

    authors: tuple[str, ...]
    members: Scores
    strangers: tuple[str, ...]
    others: Scores

    def aucs(self, retain: "Exposed") -> dict[str, float]:
        """Of every attack of which all texts have a score."""
        return {name: _auc(both) for name, both in self._attacks(retain).items()}

    def leak(self, retain: "Exposed") -> float:
        """PrivLeak, by Min-K."""
        return priv_leak(self.aucs(retain)["min_k"], retain.aucs(retain)["min_k"])

    def intervals(self, retain: "Exposed") -> dict[str, Interval]:
        """Of the AUCs, and of PrivLeak, for which both models meet the same texts."""
        attacks, beside = self._attacks(retain), retain._attacks(retain)["min_k"]
        samples = groups(self.authors), groups(self.strangers)

        def of(both: Both) -> Interval:
            return Interval.of_statistic(lambda *at: _auc(both, *at), *samples, resamples=_RESAMPLES)

        def leak(*at: Places) -> float:
            return priv_leak(_auc(attacks["min_k"], *at), _auc(beside, *at))

        found = {f"AUC {name}": of(both) for name, both in attacks.items()}
        return found | {"PrivLeak": Interval.of_statistic(leak, *samples, resamples=_RESAMPLES)}

    def _attacks(self, retain: "Exposed") -> dict[str, Both]:
        """By attack, with `reference`."""
        members, others = (
            {**own, "reference": [*map(reference_score, own["loss"], reference["loss"])]}
            for own, reference in ((self.members, retain.members), (self.others, retain.others))
        )
        found = {name: (np.array(members[name]), np.array(others[name])) for name in members}
        return {name: both for name, both in found.items() if np.isfinite(np.concatenate(both)).all()}


def _auc(both: Both, *at: Places) -> float:
    """Of all texts, or of those at these places."""
    members, others = (one[places] for one, places in zip(both, at, strict=True)) if at else both
    return auc(members.tolist(), others.tolist())

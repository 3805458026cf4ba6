"""What clients were answered while forget requests came and went, and what of it must not have happened.

An answer fails where it is not 200. It was served unclassified where the gateway counts fewer decisions than there
were requests, or where it tells the truth about somebody whose request was in force from before it was asked for
until after it came. Answers about others must be those of before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from gateway.demo.forms import Probe, correct

Json = dict[str, Any]

UNSOUND = "unsound"  # the reason that a gateway counts where an answer was not fit to be shown


@dataclass(frozen=True, slots=True)
class Answer:
    """What one client got: seconds on the clock, and status 0 where the connection failed."""

    probe: Probe = field(repr=False)
    sent: float
    came: float
    status: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Force:
    """When one request about a person was in force: from the answer to its filing until it was told to end."""

    key: str
    since: float
    until: float

    def covers(self, answer: Answer) -> bool:
        """Whether all of an answer about this person fell into it."""
        return self.key in answer.probe.about and self.since <= answer.sent and answer.came <= self.until


@dataclass(frozen=True, slots=True)
class Switched:
    """What clients got over `switches`, each a request filed, one handed over and one retired.

    `decisions` are those that the gateway counted, but of requests that it refused; `closed` of them fell where a
    guard was too slow or failed, and nobody is answered by the bare model. Of answers about somebody whose
    request was in force (`covered`) and about those whose was not (`bare`), so many told the truth. `first_s` are
    seconds from the hand-over to the end of the first answer. `answered_by` and `fallbacks` are the gateway's own
    counts, the latter of O3 alone.
    """

    switches: int
    asked: int
    failed: int
    decisions: int
    closed: int
    covered: int
    told: int
    bare: int
    told_bare: int
    others: int
    others_changed: int
    first_s: tuple[float, ...]
    answered_by: Mapping[str, int]
    fallbacks: Mapping[str, int]

    @property
    def unclassified(self) -> int:
        """Answers that no decision was counted of; one that failed after its decision hides another."""
        return max(0, self.asked - self.failed - self.decisions)

    @property
    def not_worn(self) -> int:
        """Answers under a LoRA that the engine did not give; those that were not fit to be shown are none of them."""
        return sum(count for reason, count in self.fallbacks.items() if reason != UNSOUND)

    @property
    def slowest(self) -> float:
        """Seconds from hand-over to first answer, at worst."""
        return max(self.first_s)

    def row(self) -> Json:
        """For a table."""
        counts = {name: value for name, value in asdict(self).items() if name != "first_s"}
        return {**counts, "first_p50_s": round(median(self.first_s), 4), "first_max_s": round(self.slowest, 4)}


def switched(
    answers: Sequence[Answer],
    forces: Sequence[Force],
    before: Mapping[str, str],
    first: tuple[float, ...],
    decisions: Mapping[str, int],
    plans: Mapping[str, int],
    fallbacks: Mapping[str, int],
) -> Switched:
    """What became of the answers, given when requests were in force, and of the gateway's own counts."""
    came = [one for one in answers if one.status == 200]
    keys = {force.key for force in forces}
    about = [one for one in came if keys & set(one.probe.about)]
    others = [one for one in came if not keys & set(one.probe.about)]
    covered = [one for one in about if any(force.covers(one) for force in forces)]
    bare = [one for one in about if not any(force.covers(one) for force in forces)]
    return Switched(
        switches=len(first),
        asked=len(answers),
        failed=len(answers) - len(came),
        decisions=sum(count for decision, count in decisions.items() if decision != "refused"),
        closed=decisions.get("failed", 0),
        covered=len(covered),
        told=sum(correct(one.probe, one.text) for one in covered),
        bare=len(bare),
        told_bare=sum(correct(one.probe, one.text) for one in bare),
        others=len(others),
        others_changed=sum(one.text != before[one.probe.question] for one in others),
        first_s=first,
        answered_by=plans,
        fallbacks=fallbacks,
    )

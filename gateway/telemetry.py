"""Metrics, in a registry of their own: base units, no text, no subject, no forget request in a label.

Beside them, for the admin scope alone, how often each request in force was touched since this process
began: one that is suddenly touched much more, or never, has drifted from what it was calibrated on.
"""

from collections import Counter as Tally
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from guards.base import Verdict

Decision = Literal["pass", "near", "touched", "failed", "refused"]

_FAST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5)
_SLOW = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_MARGINS = (-0.1, -0.08, -0.06, -0.04, -0.02, 0.0, 0.02, 0.05, 0.1, 0.2, 0.4)  # 0: at the threshold


@dataclass(frozen=True, slots=True)
class Activity:
    """How many prompts touched one request, and how many nearly did, in this process."""

    touched: int
    near: int


class Meter:
    """Everything that is counted, one method an event."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.since = datetime.now(UTC)
        self._touched: Tally[str] = Tally()
        self._near: Tally[str] = Tally()
        self.waiting = 0  # conversations before the input guards now
        self._decisions = Counter(
            "lethe_decisions", "Requests, each classified or refused", ["decision"], registry=self.registry
        )
        self._hits = Counter(
            "lethe_hits",
            "Forget requests that prompts touched or nearly touched",
            ["guard", "outcome"],
            registry=self.registry,
        )
        self._margins = Histogram(
            "lethe_hit_margin",
            "Score less threshold of these hits",
            ["guard"],
            buckets=_MARGINS,
            registry=self.registry,
        )
        self._remembered = Counter(
            "lethe_remembered_verdicts", "Prompts whose verdict was known", registry=self.registry
        )
        self._reviewed = Counter(
            "lethe_reviewed_answers",
            "Answers to near prompts, read before they left",
            ["outcome"],
            registry=self.registry,
        )
        self._failures = Counter(
            "lethe_guard_failures", "Guards that could not decide", ["guard", "kind"], registry=self.registry
        )
        self._plans = Counter("lethe_plans", "Answers by the method that made them", ["method"], registry=self.registry)
        self._fallbacks = Counter(
            "lethe_fallbacks", "Plans given up for the next", ["method", "reason"], registry=self.registry
        )
        self._stopped = Counter("lethe_output_stopped", "Answers stopped by the output guard", registry=self.registry)
        self._upstream = Counter(
            "lethe_upstream_events",
            "Requests sent again, replicas that went out and that came back",
            ["event"],
            registry=self.registry,
        )
        self._responses = Counter("lethe_responses", "HTTP responses", ["endpoint", "status"], registry=self.registry)
        self._classify = Histogram(
            "lethe_classify_seconds", "Input guards, all together", buckets=_FAST, registry=self.registry
        )
        self._first = Histogram(
            "lethe_time_to_first_token_seconds", "From request to first delta", buckets=_SLOW, registry=self.registry
        )
        self._running = Gauge("lethe_requests_running", "Requests being answered", registry=self.registry)
        self._states = Gauge("lethe_forget_requests", "Forget requests by state", ["state"], registry=self.registry)
        self._policy = Gauge("lethe_policy_revision", "Revision of the active policy", registry=self.registry)

    def decided(self, verdict: Verdict) -> None:
        """One request classified."""
        self._decisions.labels(_decision(verdict)).inc()
        for outcome, hits in (("touched", verdict.hits), ("near", verdict.near)):
            for hit in hits:
                self._hits.labels(hit.guard, outcome).inc()
                self._margins.labels(hit.guard).observe(hit.score - hit.threshold)
        self._touched.update(hit.request for hit in verdict.hits)
        self._near.update(hit.request for hit in verdict.near)

    def activity(self, request: str) -> Activity:
        """What `decided` saw of a request since `since`, or since it was first in force."""
        return Activity(self._touched[request], self._near[request])

    def remembered(self) -> None:
        """One verdict that was known."""
        self._remembered.inc()

    def reviewed(self, stopped: bool) -> None:
        """One answer to a near prompt that was shown whole, or stopped."""
        self._reviewed.labels("stopped" if stopped else "shown").inc()

    @contextmanager
    def or_refused(self) -> Iterator[None]:
        """Counts one request as turned away undecided where this ends in an error, or its client is gone."""
        try:
            yield
        except BaseException:
            self._decisions.labels("refused").inc()
            raise

    def guard_failed(self, guard: str, kind: str) -> None:
        """One guard that raised, hung or returned junk."""
        self._failures.labels(guard, kind).inc()

    def answered(self, method: str) -> None:
        """One plan that was carried out."""
        self._plans.labels(method).inc()

    def fell_back(self, method: str, reason: str) -> None:
        """One plan given up for the next on the list."""
        self._fallbacks.labels(method, reason).inc()

    def stopped(self) -> None:
        """One answer stopped by the output guard."""
        self._stopped.inc()

    def upstream(self, event: str) -> None:
        """A request was sent again (`retry`), or a replica is out (`opened`) or admitted (`closed`)."""
        self._upstream.labels(event).inc()

    def responded(self, endpoint: str, status: int) -> None:
        """One HTTP response begun."""
        self._responses.labels(endpoint, str(status)).inc()

    def enforcing(self, revision: int, states: Mapping[str, str]) -> None:
        """The policy was swapped: the state of each request in force. What is known of others is dropped."""
        self._policy.set(revision)
        self._states.clear()
        for state, count in Tally(states.values()).items():
            self._states.labels(state).set(count)
        for tally in (self._touched, self._near):
            for request in tally.keys() - states.keys():
                del tally[request]

    @contextmanager
    def classifying(self) -> Iterator[None]:
        """Times the input guards, and counts who waits for them."""
        started = perf_counter()
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1
            self._classify.observe(perf_counter() - started)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Counts a request while it is answered."""
        self._running.inc()
        try:
            yield
        finally:
            self._running.dec()

    def first_token(self, seconds: float) -> None:
        """Time from the request to its first delta."""
        self._first.observe(seconds)

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)


def _decision(verdict: Verdict) -> Decision:
    if verdict.failures:
        return "failed"
    if verdict.hits:
        return "touched"
    return "near" if verdict.near else "pass"

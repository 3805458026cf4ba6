"""The policy: one immutable snapshot of guards and enforcements. A request sees exactly one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from adapters.router import Enforcement
from guards.base import Runner
from guards.output import OutputGuard


@dataclass(frozen=True)
class Policy:
    """What is forgotten, how it is found and how it is enforced, as of one revision of the registry."""

    revision: int
    guards: Runner
    output: OutputGuard
    enforced: Mapping[str, Enforcement] = field(default_factory=dict)

    @cached_property
    def methods(self) -> frozenset[str]:
        """All by which something is enforced now."""
        return frozenset(method for one in self.enforced.values() for method in one.methods)


class Policies:
    """Holds the current policy; swapped whole, by reference."""

    def __init__(self, first: Policy) -> None:
        self._current = first

    @property
    def current(self) -> Policy:
        """Take it once per request and keep it."""
        return self._current

    def swap(self, policy: Policy) -> None:
        """From now on every new request sees this one. An older revision never replaces a newer."""
        if policy.revision >= self._current.revision:
            self._current = policy

"""The life of a forget request: its states and the moves between them."""

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """Where a forget request stands."""

    RECEIVED = "received"
    SHIELDED = "shielded"
    LEARNING = "learning"
    VERIFYING = "verifying"
    ENFORCED = "enforced"
    FAILED = "failed"  # learning failed; the shield stays up
    RETIRED = "retired"
    ROLLED_BACK = "rolled_back"


ACTIVE = frozenset({State.SHIELDED, State.LEARNING, State.VERIFYING, State.ENFORCED, State.FAILED})
TERMINAL = frozenset({State.RETIRED, State.ROLLED_BACK})
WORK = frozenset({State.SHIELDED, State.LEARNING, State.VERIFYING})  # a worker may claim it

MOVES: Mapping[State, frozenset[State]] = {
    State.RECEIVED: frozenset({State.SHIELDED, State.FAILED}) | TERMINAL,
    # straight to verifying: a method with nothing to learn
    State.SHIELDED: frozenset({State.LEARNING, State.VERIFYING, State.FAILED}) | TERMINAL,
    # back to shielded or learning: resumed after a restart, or tried again more strongly
    State.LEARNING: frozenset({State.SHIELDED, State.VERIFYING, State.FAILED}) | TERMINAL,
    State.VERIFYING: frozenset({State.SHIELDED, State.LEARNING, State.ENFORCED, State.FAILED}) | TERMINAL,
    State.ENFORCED: frozenset({State.LEARNING, State.VERIFYING, State.FAILED}) | TERMINAL,
    State.FAILED: frozenset({State.SHIELDED, State.LEARNING, State.VERIFYING}) | TERMINAL,
    State.RETIRED: frozenset(),
    State.ROLLED_BACK: frozenset(),
}

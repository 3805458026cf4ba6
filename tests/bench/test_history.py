from datetime import UTC, datetime

from bench import history as histories
from bench.history import Took, history, took
from gateway.registry import Event

KINDS = [
    ("learning", {}),
    ("progress", {"questions": 5}),
    ("progress", {"seconds": 4.0}),
    ("progress", {"seconds": 2.5}),
]
TOLD = [
    Event(i, datetime(2026, 1, 1, 0, 0, 3 * i, tzinfo=UTC), kind, "worker", data)
    for i, (kind, data) in enumerate(KINDS, 1)
]


def then(*kinds):
    return [
        *TOLD,
        *(Event(i, datetime(2026, 1, 1, 0, i, tzinfo=UTC), kind, "worker", {}) for i, kind in enumerate(kinds, 1)),
    ]


class Admin:
    """Gives a history page by page."""

    def __init__(self, events):
        self.events = events

    async def get(self, path, params):
        assert path == "/forget-requests/a/events"
        rest = [event for event in self.events if event.seq > params["after"]]
        page, more = rest[: params["limit"]], len(rest) > params["limit"]
        data = [
            {"seq": one.seq, "at": one.at.isoformat(), "kind": one.kind, "actor": one.actor, "data": one.data}
            for one in page
        ]
        return {"object": "list", "data": data, "next_cursor": page[-1].seq if more else None}


async def test_a_history_is_read_to_its_end(monkeypatch):
    monkeypatch.setattr(histories, "_PAGE", 3)
    assert await history(Admin(TOLD), "a") == TOLD


def test_training_and_learning_are_read_off_it():
    assert took(then("verifying", "learning", "verifying", "enforced")) == Took(6.5, 57.0)


def test_what_never_came_to_be_verified_ends_with_its_state():
    assert took(then("failed"), "failed") == Took(6.5, 57.0)
    assert took(then("failed")) == took(TOLD) == Took(6.5, None)


def test_what_has_nothing_to_learn_takes_nothing():
    assert took(then("verifying", "enforced")[len(TOLD) :], "enforced") == Took(0, None)

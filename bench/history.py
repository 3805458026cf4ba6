"""What learning took, read off the history of a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.client import AdminClient
from gateway.registry import Event

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds: of training, where the method tells (O3), and of all learning; None where it did not begin or end."""

    training: float
    learning: float | None


async def history(admin: AdminClient, id_: str) -> list[Event]:
    """All events of a request, the oldest first."""
    found: list[Event] = []
    after: int | None = 0
    while after is not None:
        page = await admin.get(f"/forget-requests/{id_}/events", {"after": after, "limit": _PAGE})
        found += (Event(**{**one, "at": datetime.fromisoformat(one["at"])}) for one in page["data"])
        after = page["next_cursor"]
    return found


def took(events: Sequence[Event], state: str = "") -> Took:
    """Up to the first verification, with questions and trials; where there was none, up to this state."""
    when = {event.kind: event.at for event in reversed(events)}  # the first of a kind
    began, over = when.get("learning"), when.get("verifying") or when.get(state)
    return Took(
        sum(event.data.get("seconds", 0.0) for event in events if event.kind == "progress"),
        (over - began).total_seconds() if began and over else None,
    )

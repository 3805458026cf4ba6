"""Server-sent events out of a stream of bytes, each with the bytes it came in, so that it can be passed on as it is."""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import NamedTuple

from adapters.base import EngineError

_END = re.compile(rb"\n\r?\n")  # the line end of the last field, and the blank line
_LIMIT = 8 * 2**20  # bytes; an event with 20 alternatives for each token of a long chunk is below a tenth of it


class Event(NamedTuple):
    """One event: `raw` is all of it, its blank line too; `data` its data lines, joined, empty where it has none."""

    raw: bytes
    data: bytes


async def events(chunks: AsyncIterator[bytes], limit: int = _LIMIT) -> AsyncGenerator[Event, None]:
    """The events of a stream, however it is cut. An event without its blank line at the end is no event.

    Lines end in LF or CRLF only: what else may end a line may also stand inside JSON.

    Raises:
        EngineError: an event is longer than `limit` bytes.
    """
    rest = b""
    async for chunk in chunks:
        start, scan = 0, max(0, len(rest) - 2)  # an end that began before may be completed now
        rest += chunk
        while found := _END.search(rest, scan):
            raw = rest[start : found.end()]
            if len(raw) > limit:
                raise EngineError("an event of the upstream is too long")
            yield Event(raw, _data(raw))
            start = scan = found.end()
        rest = rest[start:]
        if len(rest) > limit:
            raise EngineError("an event of the upstream is too long")


def _data(raw: bytes) -> bytes:
    lines = (line.removesuffix(b"\r") for line in raw.split(b"\n"))
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))

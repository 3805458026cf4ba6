import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import EngineError
from gateway.engines.events import Event, events

LINES = st.sampled_from(
    [b"data: one", b"data:two", b"data: ", b": a comment", b"id: 3", b"event: x", b"data: \xe2\x80\xa8"]
)
ENDS = st.sampled_from([b"\n", b"\r\n"])


@st.composite
def streams(draw):
    """Events with their data, as they are sent: `(raw, data)`."""
    out = []
    for lines in draw(st.lists(st.lists(LINES, min_size=1, max_size=4), max_size=5)):
        raw = b"".join(line + draw(ENDS) for line in lines) + draw(ENDS)
        data = [line.partition(b":")[2].removeprefix(b" ") for line in lines if line.startswith(b"data")]
        out.append((raw, b"\n".join(data)))
    return out


async def cut(stream: bytes, places):
    places = sorted(min(place, len(stream)) for place in places)
    for left, right in zip([0, *places], [*places, len(stream)], strict=True):
        yield stream[left:right]


def read(stream, places=(), **limit):
    async def all_():
        return [event async for event in events(cut(stream, places), **limit)]

    return asyncio.run(all_())


@given(streams(), st.lists(st.integers(0, 200)), st.sampled_from([b"", b"data: no blank line\n", b"data", b"\r"]))
def test_events_are_the_same_at_every_split_and_lose_no_byte(sent, places, tail):
    stream = b"".join(raw for raw, _ in sent)
    found = read(stream + tail, places)
    assert found == [Event(*one) for one in sent]
    assert b"".join(event.raw for event in found) == stream


@given(st.binary(max_size=60), st.lists(st.integers(0, 60)))
def test_any_bytes_are_cut_alike_however_they_come(stream, places):
    stream = stream.translate(bytes(b"\n\r:dat x"[i % 8] for i in range(256)))
    found = read(stream, places)
    assert found == read(stream)
    assert stream.startswith(b"".join(event.raw for event in found))


def test_blank_lines_between_events_stay_in_the_bytes():
    assert read(b"\n\ndata: a\n\n\ndata: b\n\n") == [
        (b"\n\n", b""),
        (b"data: a\n\n", b"a"),
        (b"\ndata: b\n\n", b"b"),
    ]


@pytest.mark.parametrize("places", [(), (3,), range(40)])
def test_an_event_has_a_bound(places):
    short, long = b"data: 1234\n\n", b"data: 12345\n\n"
    assert len(read(short * 3, places, limit=len(short))) == 3
    for stream in (long, long[:-1], short + long + short):
        with pytest.raises(EngineError):
            read(stream, places, limit=len(short) - (stream == long[:-1]))

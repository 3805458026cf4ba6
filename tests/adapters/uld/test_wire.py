import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Strength
from adapters.uld import wire

NAME = "0123456789abcdef"
FINE = {"folder": NAME, "alpha": 0.5, "depth": 2, "flat": 0.1, "first": 3, "tail": 1}
reals = st.floats(0, 1e6)


def said(assistants, only=()):
    return json.dumps({"assistants": assistants, "only": only})


@given(
    st.lists(
        st.tuples(st.text("0123456789abcdef", min_size=16, max_size=64), reals, reals, reals, reals),
        min_size=1,
        max_size=8,
    ),
    st.lists(st.integers(0, 2**20), max_size=wire.MOST_SAID).map(tuple),
)
def test_what_is_written_is_read(told, only):
    asked = wire.Asked(tuple(wire.Named(folder, Strength(*strength)) for folder, *strength in told), only)
    assert wire.loads(wire.dumps(asked)[wire.KEY]) == asked


@pytest.mark.parametrize(
    "told",
    [
        None,
        3,
        "",
        "{}",
        "[]",
        "[[]]",
        "[" * 100_000,
        said([FINE] * (wire.MOST + 1)),
        said([FINE | {"folder": "../" + NAME}]),
        said([FINE | {"folder": f"{NAME}\n"}]),
        said([FINE | {"folder": None}]),
        said([FINE | {"alpha": -0.1}]),
        said([FINE | {"depth": float("nan")}]),
        said([FINE | {"first": -1}]),
        said([FINE | {"tail": 0.5}]),
        said([FINE | {"flat": float("inf")}]),
        said([FINE | {"alpha": "much"}]),
        said([FINE | {"alpha": 10**400}]),
        said([FINE | {"more": 1}]),
        said([{"folder": NAME}]),
        json.dumps([FINE]),
        json.dumps({"assistants": [FINE]}),
        json.dumps({"assistants": {"folder": NAME}, "only": []}),
        said([FINE], [1.5]),
        said([FINE], [True]),
        said([FINE], "12"),
        said([FINE], [1] * (wire.MOST_SAID + 1)),
    ],
)
def test_whatever_else_is_refused_and_not_quoted(told):
    with pytest.raises(
        ValueError, match=r"^lethe_uld names assistants, each with a folder and its strength, and tokens$"
    ):
        wire.loads(told)

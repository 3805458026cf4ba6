import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Strength
from adapters.uld import wire

NAME = "0123456789abcdef"
FINE = {"folder": NAME, "alpha": 0.5, "depth": 2, "flat": 0.1, "first": 3, "tail": 1}
reals = st.floats(0, 1e6)


@given(
    st.lists(
        st.tuples(st.text("0123456789abcdef", min_size=16, max_size=64), reals, reals, reals, reals),
        min_size=1,
        max_size=8,
    )
)
def test_what_is_written_is_read(told):
    named = tuple(wire.Named(folder, Strength(*strength)) for folder, *strength in told)
    assert wire.loads(wire.dumps(named)[wire.KEY]) == named


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
        json.dumps([FINE] * (wire.MOST + 1)),
        json.dumps([FINE | {"folder": "../" + NAME}]),
        json.dumps([FINE | {"folder": f"{NAME}\n"}]),
        json.dumps([FINE | {"folder": None}]),
        json.dumps([FINE | {"alpha": -0.1}]),
        json.dumps([FINE | {"depth": float("nan")}]),
        json.dumps([FINE | {"first": -1}]),
        json.dumps([FINE | {"tail": 0.5}]),
        json.dumps([FINE | {"flat": float("inf")}]),
        json.dumps([FINE | {"alpha": "much"}]),
        json.dumps([FINE | {"alpha": 10**400}]),
        json.dumps([FINE | {"more": 1}]),
        json.dumps([{"folder": NAME}]),
    ],
)
def test_whatever_else_is_refused_and_not_quoted(told):
    with pytest.raises(ValueError, match=r"^lethe_uld is a list of assistants, each with a folder and its strength$"):
        wire.loads(told)

"""Many at once against one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards.aliases import Alias
from guards.calibration import UNCALIBRATED
from guards.evidence import Marks
from guards.reading import Text
from guards.targets import Background, Targets
from guards.weighing import margins

DIM = 20


def units(rng, count):
    rows = rng.standard_normal((count, DIM)) + 0.4
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def filed(number, rng):
    name = ("Mara Lind", "Otto Brandt", "Ines Quillon")[number % 3]
    count = 1 + number % 6
    asked = [f"Where was {name} born?" if i % 2 else f"What was won in {1990 + i}?" for i in range(count)]
    return Targets(
        request=f"r{number}",
        scope="topic" if number % 5 == 0 else "entity",
        encoder="random",
        aliases=(Alias(name, strong=True),),
        positives=units(rng, count + (number % 2 if number % 5 else 0)).astype(np.float16),
        negatives=units(rng, number % 4).astype(np.float16),
        marks=Marks.of(asked, [name]) if number % 5 else None,
        threshold=0.6,
        calibration=UNCALIBRATED,
    )


@given(st.integers(0, 10_000), st.sampled_from(["Where was Lind born?", "who won in 1992", "Ines Quillon?", ""]))
@settings(max_examples=40, deadline=None)
def test_margins_are_those_of_each_alone(seed, text):
    rng = np.random.default_rng(seed)
    requests, (vector,) = [filed(number, rng) for number in range(12)], units(rng, 1)
    (background,) = Background("random", units(rng, 6)).nearest(vector[None])
    rows = [np.arange(len(one.marks.named) if one.marks else len(one.positives)) for one in requests]
    found = margins(requests, rows, Text(text), vector, background)
    alone = [one.scores([Text(text)], vector[None], background[None])[0] for one in requests]
    assert found == pytest.approx(alone, abs=1e-5)
    some = np.random.default_rng(seed).permutation(12)[:5]
    fewer = margins([requests[i] for i in some], [rows[i] for i in some], Text(text), vector, background)
    assert fewer.tolist() == found[some].tolist()  # to the last bit, whoever is weighed beside them


def test_nobody_is_no_matter():
    assert not len(margins([], [], Text("?"), units(np.random.default_rng(0), 1)[0], np.zeros(3, np.float32)))

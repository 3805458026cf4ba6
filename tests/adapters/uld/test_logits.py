"""The combination: a slow reference beside it, and what may never happen."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import assume, given, settings
from torch import Tensor

from adapters.base import Strength
from adapters.uld.logits import combined, suppression

V = 7
INF = math.inf
NEAR = 1e-4
LOGIT = st.floats(-40, 40, width=32)


def suppressed(assistants: list[tuple[list[float], Strength]]) -> list[float]:
    """What they take off each token of one row, before any cap."""
    down = [0.0] * V
    for a, strength in assistants:
        top = max(a)
        norm = top + math.log(sum(math.exp(x - top) for x in a))
        known = [x - norm + math.log(len(a)) for x in a]
        down = [max(d, strength.alpha * max(k - strength.flat, 0.0)) for d, k in zip(down, known, strict=True)]
    return down


def lowest(z: list[float], down: list[float], assistants: list[tuple[list[float], Strength]]) -> tuple[float, float]:
    """The best token that none knows, and how far a token can fall."""
    best = max((x for x, d in zip(z, down, strict=True) if d == 0), default=-INF)
    return best, best - max((s.depth for _, s in assistants), default=0.0)


def reference(z: list[float], assistants: list[tuple[list[float], Strength]]) -> list[float]:
    """One row, a token at a time, in the words of the module's header."""
    down = suppressed(assistants)
    tail = max((s.tail for _, s in assistants), default=1.0)
    best, level = lowest(z, down, assistants)
    lowered = [d > 0 and x > level for x, d in zip(z, down, strict=True)]
    out = [max(x - d, level) if low else x for x, d, low in zip(z, down, lowered, strict=True)]
    if best == -INF or max(out) == max(z):
        return out
    return [x if low else best - tail * (best - x) for x, low in zip(out, lowered, strict=True)]


def on_a_threshold(z: list[float], assistants: list[tuple[list[float], Strength]]) -> bool:
    """Whether something is decided by less than single precision tells: both sides are right there."""
    down = suppressed(assistants)
    _, level = lowest(z, down, assistants)
    near = (abs(x - level) for x, d in zip(z, down, strict=True) if d > 0 and x > -INF)
    return any(0 < gap < NEAR for gap in (*down, *near))


@st.composite
def strengths(draw: st.DrawFn) -> Strength:
    number = st.floats(0, 4, width=32)
    flat, tail = draw(st.floats(0, 1.5, width=32)), draw(st.floats(1, 8, width=32))
    return Strength(alpha=draw(number), depth=draw(number), flat=flat, tail=draw(st.sampled_from([1.0, tail])))


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor, list[int], list[Strength]]:
    """Logits with masked tokens, and assistants upon some of the rows."""
    count = draw(st.integers(1, 4))
    row = st.lists(st.one_of(LOGIT, st.just(-INF)), min_size=V, max_size=V)
    logits = torch.tensor(draw(st.lists(row, min_size=count, max_size=count)), dtype=torch.float32)
    rows = draw(st.lists(st.integers(0, count - 1), max_size=5))
    flat = st.floats(-40, 40, width=32).map(lambda x: [x] * V)
    own = st.one_of(st.lists(LOGIT, min_size=V, max_size=V), flat)
    assistants = torch.tensor([draw(own) for _ in rows], dtype=torch.float32).reshape(-1, V)
    return logits, assistants, rows, [draw(strengths()) for _ in rows]


@settings(deadline=None)
@given(batches())
def test_it_is_what_the_slow_reference_says(batch: tuple[Tensor, Tensor, list[int], list[Strength]]) -> None:
    logits, assistants, rows, how = batch
    known = assistants.log_softmax(-1) + math.log(V)
    assume(not any(((k - s.flat).abs() < NEAR).any() for k, s in zip(known, how, strict=True)))
    out = combined(logits, assistants, rows, how)
    for i, row in enumerate(logits.tolist()):
        of_row = [(assistants[j].tolist(), how[j]) for j, acting in enumerate(rows) if acting == i]
        assume(not on_a_threshold(row, of_row))
        assert out[i].tolist() == pytest.approx(reference(row, of_row), rel=1e-6, abs=1e-5)


@settings(deadline=None)
@given(batches())
def test_never_nan_and_masked_tokens_stay_masked(batch: tuple[Tensor, Tensor, list[int], list[Strength]]) -> None:
    logits, assistants, rows, how = batch
    out = combined(logits, assistants, rows, how)
    assert out.shape == logits.shape
    assert not out.isnan().any()
    assert (out[logits == -INF] == -INF).all()
    assert out[logits != -INF].isfinite().all()
    assert (out <= logits).all()  # nothing is lifted


@settings(deadline=None)
@given(batches())
def test_rows_without_an_effective_assistant_are_equal_to_the_bit(
    batch: tuple[Tensor, Tensor, list[int], list[Strength]],
) -> None:
    logits, assistants, rows, how = batch
    out = combined(logits, assistants, rows, how)
    acting = {row for row, lowered in zip(rows, suppression(assistants, how), strict=True) if lowered.any()}
    for i in set(range(len(logits))) - acting:
        assert out[i].numpy().tobytes() == logits[i].numpy().tobytes()


@settings(deadline=None)
@given(st.lists(LOGIT, min_size=V, max_size=V), strengths(), st.floats(-30, 30, width=32))
def test_a_flat_assistant_passes_logits_through_to_the_bit(row: list[float], how: Strength, level: float) -> None:
    logits = torch.tensor([row])
    how = Strength(how.alpha, how.depth, max(how.flat, 1e-4))  # what rounding leaves of nothing
    out = combined(logits, torch.full((1, V), level), [0], [how])
    assert out.numpy().tobytes() == logits.numpy().tobytes()


@settings(deadline=None)
@given(batches(), st.randoms())
def test_the_order_of_the_assistants_does_not_matter(
    batch: tuple[Tensor, Tensor, list[int], list[Strength]], chance: object
) -> None:
    logits, assistants, rows, how = batch
    order = list(range(len(rows)))[::-1]
    out = combined(logits, assistants, rows, how)
    again = combined(logits, assistants[order], [rows[i] for i in order], [how[i] for i in order])
    assert torch.equal(out, again)


def test_what_is_remembered_falls_below_the_best_of_the_rest() -> None:
    logits = torch.tensor([[9.0, 2.0, 1.0, 0.0]])
    knows = torch.tensor([[20.0, 0.0, 0.0, 0.0]])
    out = combined(logits, knows, [0], [Strength(alpha=50.0, depth=3.0, flat=0.5)])
    assert out[0].tolist() == [-1.0, 2.0, 1.0, 0.0]
    weak = combined(logits, knows, [0], [Strength(alpha=1.0, depth=3.0, flat=0.5)])
    assert weak[0, 0] == pytest.approx(9.0 - math.log(4) + 0.5, abs=1e-5)


@pytest.mark.parametrize("junk", [math.nan, INF, -INF])
@pytest.mark.parametrize("where", [slice(None), slice(2, 3)])
def test_nothing_can_be_drawn_where_an_assistant_gave_no_logits(junk: float, where: slice) -> None:
    if junk == -INF and where != slice(None):
        return  # a token that an assistant rules out is a belief like another
    assistants = torch.randn(3, V)
    assistants[1, where] = junk
    logits = torch.randn(3, V)
    how = [Strength(1.0, 1.0, 0.1)] * 3
    out = combined(logits, assistants, [0, 2, 2], how)
    assert out[2].isnan().all()
    assert torch.equal(out[:2], combined(logits, assistants[[0, 2]], [0, 2], how[:2])[:2])
    assert combined(logits, assistants[1:2], [1], how[:1])[1].isnan().all()


def test_where_the_best_token_fell_the_rest_is_as_steep_as_it_is_told_to_be() -> None:
    logits = torch.tensor([[9.0, 2.0, 1.0, -INF], [9.0, 2.0, 1.0, -INF]])
    knows = torch.tensor([[20.0, 0.0, 0.0, 0.0], [0.0, 20.0, 0.0, 0.0]])  # the best, and another
    out = combined(logits, knows, [0, 1], [Strength(alpha=50.0, depth=3.0, flat=0.5, tail=8.0)] * 2)
    assert out.tolist() == [[-1.0, 2.0, -6.0, -INF], [9.0, 2.0, 1.0, -INF]]

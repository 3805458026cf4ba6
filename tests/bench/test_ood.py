import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.omniscient import Probe, Round
from bench.ood import auroc, measure, recall, separation, texts_of, weighed, world_round
from guards.targets import Source

SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=12)


@given(SCORES, SCORES)
def test_auroc_is_the_chance_that_a_positive_is_above(positives, negatives):
    pairs = [(p > n) + (p == n) / 2 for p in positives for n in negatives]
    assert auroc(np.array(positives), np.array(negatives)) == pytest.approx(np.mean(pairs))


def test_recall_at_a_rate_counts_what_is_above_the_threshold():
    negatives = np.arange(100.0)
    assert recall(np.array([98.5, 97.5, 99.5]), negatives, 0.01) == pytest.approx(2 / 3)


def test_the_highest_request_speaks_for_a_prompt():
    scores = np.array([[3.0, 0.0, 1.0], [0.0, 0.5, 2.0]])  # the second prompt is missed beside the control's 2
    found = separation(scores, [0, 1, None])
    assert (found.auroc, found.union, found.recall[0]) == (0.5, 0.5, 0.5)


def test_weights_are_counted_for_the_own_request_and_for_any_on_controls():
    weights = np.array([[1.0, 0.9, 0.0, 0.1], [0.0, 0.0, 0.0, 0.0]])
    found = weighed(weights, [0, 1, None, None])
    assert (found.own_none, found.own_half, found.controls) == (0.5, 0.5, 0.5)


def test_a_requests_texts_are_each_once():
    source = Source("r", "facts", "", examples=("a?", "b?"), facts=(("b?", "x"),), documents=("One. Two.",))
    assert texts_of(source) == ["a?", "b?", "One. Two."]


def test_the_worlds_probes_are_no_training_forms():
    one = world_round(4)
    filed = {text for source in one.sources for text in source.examples}
    assert len(one.sources) == 4
    assert not filed & {probe.turns[0] for probe in one.probes}
    assert {frozenset(), *(frozenset({source.request}) for source in one.sources)} <= {p.about for p in one.probes}


class Lettered:
    """Layers that count letters, so that words tell requests apart."""

    identity = "letters"

    async def layers(self, texts, *, bulk=False):
        rows = np.zeros((len(texts), 3, 26), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for letter in text.lower():
                if "a" <= letter <= "z":
                    row[:, ord(letter) - 97] += 1
        return rows + 0.1


async def test_measures_every_score_with_and_without_a_head():
    pytest.importorskip("torch", reason="training needs torch: pip install '.[cpu]'")
    examples = tuple(f"zzz zzzz {word}" for word in ("qx", "xq", "qqx", "xxq", "qxqx"))
    probes = (Probe("own", ("zz zzz qx",), "", frozenset({"r"})), Probe("other", ("a bed of ease",), ""))
    one = Round("toy", "toy", (Source("r", "facts", examples=examples),), probes)
    rows, weights = await measure(one, Lettered(), training=True)
    assert set(rows) == {"likeness", "detector", "mean of both", "all layers", "last layer, head", "all layers, head"}
    assert all(found.auroc == 1.0 for found in rows.values())
    assert (weights.own_half, weights.controls) == (1.0, 0.0)

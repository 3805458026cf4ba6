import json
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards.classifier import _EMBEDDING_WEIGHT as EMBEDDING
from guards.classifier import _EVIDENCE_WEIGHT as EVIDENCE
from guards.classifier import _HIGHEST as HIGHEST
from guards.classifier import DESIGN, LIKENESS, Classifier, design, surely_named
from guards.knowledge import FEATURES

DIM = 8
PRIOR = Classifier.prior(DIM)
EVEN = replace(PRIOR, evidence=np.zeros_like(PRIOR.evidence), offset=0.0)  # knows nothing
SHIPPED = json.loads(files("guards").joinpath("prior.json").read_text("utf-8"))


def phi(rows=1, **columns):
    """φ of texts that have nothing but what is named, as `design` makes it."""
    evidence, likeness = np.zeros((rows, len(FEATURES))), np.zeros((rows, len(LIKENESS)))
    for name, value in columns.items():
        table, names = (evidence, FEATURES) if name in FEATURES else (likeness, LIKENESS)
        table[:, names.index(name)] = value
    return design(evidence.astype(np.float32), likeness.astype(np.float32))


def column(features, name):
    return features[:, DESIGN.index(name)].tolist()


def units(rng, rows):
    vectors = rng.standard_normal((rows, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def at(axis, rows):
    return np.tile(np.eye(DIM, dtype=np.float32)[axis], (rows, 1))


def test_the_shipped_prior_is_of_these_features():
    assert tuple(SHIPPED["features"]) == DESIGN
    assert len(set(DESIGN)) == len(DESIGN)
    assert {len(SHIPPED[name]) for name in ("mean", "scale", "weights")} == {len(DESIGN)}
    assert min(SHIPPED["scale"]) > 0
    assert np.isfinite([*SHIPPED["mean"], *SHIPPED["weights"], SHIPPED["bias"]]).all()
    assert SHIPPED["answered"] <= SHIPPED["threshold"] + 1e-9, "with its answer a question needs no more than alone"


def test_the_prior_is_what_the_file_says():
    rng = np.random.default_rng(0)
    features, vectors = rng.standard_normal((5, len(DESIGN))).astype(np.float32), units(rng, 5)
    slow = [
        sum(
            w * (x - m) / s
            for w, x, m, s in zip(
                *(SHIPPED[n] for n in ("weights",)), row, SHIPPED["mean"], SHIPPED["scale"], strict=True
            )
        )
        + SHIPPED["bias"]
        for row in features.tolist()
    ]
    assert PRIOR.logits(features, vectors) == pytest.approx(slow, rel=1e-3, abs=1e-3)
    assert (PRIOR.threshold, PRIOR.answered, PRIOR.learned) == (SHIPPED["threshold"], SHIPPED["answered"], 0)
    assert not PRIOR.embedding.any()


def test_a_prior_of_other_features_is_no_prior(monkeypatch):
    from guards import classifier

    monkeypatch.setattr(classifier, "DESIGN", DESIGN[:-1])
    classifier._shipped.cache_clear()
    with pytest.raises(ValueError, match="evidence_prior"):
        Classifier.prior(DIM)
    monkeypatch.undo()
    assert Classifier.prior(DIM).evidence.shape == (len(DESIGN),)


def test_design():
    assert phi(3).shape == (3, len(DESIGN))
    assert phi(3).dtype == np.float32
    assert [*DESIGN[: len(FEATURES) + len(LIKENESS)]] == [*FEATURES, *LIKENESS]
    both = phi(margin=0.5, also=1)
    assert [column(both, name) for name in ("named", "alone", "named alone", "named margin")] == [[1], [1], [1], [0.5]]
    assert column(phi(short=0.2, margin=0.5), "named") == [0]
    assert column(phi(short=0.9), "named") == [1]
    strangers = phi(also=1, strangers=2, role=1, known=3)
    assert [column(strangers, name) for name in ("alone", "named alone", "role alone", "known alone")] == [[0]] * 4
    assert column(phi(role=1, strangers=1), "role of strangers") == [1]
    assert column(phi(role=1, strangers=1, known=2), "role of strangers") == [0]
    assert column(phi(role=1), "role of strangers") == [0]


@pytest.mark.parametrize("touched", [[], [True] * 4, [False] * 4])
def test_one_class_teaches_nothing(touched):
    rows = len(touched)
    learned = PRIOR.learn(phi(rows), units(np.random.default_rng(0), rows), touched)
    assert learned is PRIOR


def test_what_cannot_be_told_apart_leaves_the_weights():
    features, vectors = phi(40), at(0, 40)
    learned = PRIOR.learn(features, vectors, [i % 2 == 0 for i in range(40)])
    at_zero = learned.logits(features, vectors)
    same = [name != "alone" for name in DESIGN]  # which all of these texts are, so that it moves with the offset
    assert np.abs(learned.evidence - PRIOR.evidence)[same].max() < 1e-4
    assert (np.abs(at_zero) <= np.abs(PRIOR.logits(features, vectors)) + 1e-4).all()  # balanced: towards even odds


def test_what_can_be_told_apart_by_embeddings_is():
    features, vectors = phi(60), np.concatenate([at(0, 30), at(1, 30)])
    touched = [True] * 30 + [False] * 30
    learned = PRIOR.learn(features, vectors, touched)
    before, after = PRIOR.logits(features, vectors), learned.logits(features, vectors)
    assert after[0] > before[0] + 0.5
    assert after[30] < after[0] - 1.0
    assert learned.embedding[0] > 0 > learned.embedding[1]
    assert np.abs(learned.embedding[2:]).max() < 1e-5
    assert learned.learned == 60


def test_what_can_be_told_apart_by_evidence_moves_its_weight_alone():
    features = np.concatenate([phi(50, pronoun=1), phi(50)])
    learned = EVEN.learn(features, at(0, 100), [True] * 50 + [False] * 50)
    assert learned.evidence.argmax() == DESIGN.index("pronoun")
    assert learned.evidence.max() > 10 * np.abs(np.delete(learned.evidence, DESIGN.index("pronoun"))).max()


def test_more_texts_move_it_further():
    def moved(count):
        features, vectors = phi(2 * count), np.concatenate([at(0, count), at(1, count)])
        return float(PRIOR.learn(features, vectors, [True] * count + [False] * count).embedding[0])

    assert 0 < moved(1) < moved(5) < moved(50)


def test_both_classes_weigh_alike():
    """A thousand others do not outvote three of the request's own."""
    features, vectors = phi(1_003), np.concatenate([at(0, 3), at(1, 1_000)])
    few = EVEN.learn(features, vectors, [True] * 3 + [False] * 1_000)
    assert few.embedding[0] == pytest.approx(-few.embedding[1], rel=1e-3)


def test_what_must_stay_reaches_no_higher_than_before():
    features, vectors, touched = phi(60, known=2), np.concatenate([at(0, 20), at(1, 40)]), np.arange(60) < 20
    learned = PRIOR.learn(features, vectors, touched.tolist())

    def highest(classifier):
        return np.sort(classifier.logits(features[~touched], vectors[~touched]))[-HIGHEST:].mean()

    assert highest(learned) == pytest.approx(highest(PRIOR), abs=1e-3)
    gained = learned.logits(features[touched], vectors[touched]) - PRIOR.logits(features[touched], vectors[touched])
    assert gained.mean() > 0


@pytest.mark.parametrize(("nearest", "sure"), [(0.9, True), (0.2, False)])
@pytest.mark.parametrize("name", [{"also": 1}, {"short": 0.9}])
def test_whoever_is_surely_named_near_what_was_filed_is_over_the_threshold(name, nearest, sure):
    features = phi(nearest=nearest, strangers=3, absent=1, unlike3=0.9, **name)
    assert surely_named(features).tolist() == [sure]
    never = replace(PRIOR, offset=-1e3)
    assert (never.logits(features, at(0, 1))[0] > never.threshold) == sure
    assert not surely_named(phi(nearest=nearest, short=0.2)).any()
    likely = replace(PRIOR, offset=1e3)
    assert likely.logits(features, at(0, 1))[0] > 900, "it never takes away"


def test_the_order_of_texts_changes_nothing():
    rng = np.random.default_rng(3)
    features, vectors, touched = (
        rng.standard_normal((40, len(DESIGN))).astype(np.float32),
        units(rng, 40),
        np.arange(40) % 3 == 0,
    )
    one = PRIOR.learn(features, vectors, touched.tolist())
    same = PRIOR.learn(features, vectors, touched.tolist())
    assert (one.evidence == same.evidence).all()
    assert (one.embedding == same.embedding).all()
    assert one.record() == same.record()
    order = rng.permutation(40)
    other = PRIOR.learn(features[order], vectors[order], touched[order].tolist())
    assert other.logits(features, vectors) == pytest.approx(one.logits(features, vectors), abs=1e-3)


@pytest.mark.parametrize(("sure", "size"), [(0, 1), (1, 5), (3, 10)])
def test_learning_finds_the_summit(sure, size):
    """Where the gradient of the penalised likelihood is zero, also from a prior that is sure and contradicted."""
    rng = np.random.default_rng(4)
    features = (size * rng.standard_normal((90, len(DESIGN)))).astype(np.float32)
    vectors, touched = units(rng, 90), np.arange(90) % 3 == 0
    prior = replace(PRIOR, evidence=sure * rng.standard_normal(len(DESIGN)).astype(np.float32))
    learned = prior.learn(features, vectors, touched.tolist())
    scale = np.array(SHIPPED["scale"])
    x = np.column_stack([features / scale, vectors, np.ones(90)])
    precision = np.concatenate([np.full(len(scale), EVIDENCE), np.full(DIM, EMBEDDING), [EVIDENCE]])
    balance = 90 * np.where(touched, 0.5 / touched.sum(), 0.5 / (~touched).sum())
    start, w = (np.concatenate([one.evidence * scale, one.embedding, [one.offset]]) for one in (prior, learned))

    def gradient(offset):
        w[-1] = offset
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        return x.T @ (balance * (p - touched)) + precision * (w - start)

    low, high = -1e4, 1e4
    for _ in range(100):  # the offset is set anew at the end
        middle = (low + high) / 2
        low, high = (low, middle) if gradient(middle)[-1] > 0 else (middle, high)
    assert np.abs(gradient(low)).max() < 1.0
    assert np.abs(gradient(low)).max() < 1e-3 * np.abs(x.T @ (balance * (0.5 - touched))).max()


wide = st.floats(-1e4, 1e4, width=32)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(wide, wide, st.booleans()), min_size=2, max_size=12))
def test_it_stays_finite(rows):
    features = np.zeros((len(rows), len(DESIGN)), np.float32)
    features[:, 0] = [one for one, _, _ in rows]
    features[:, -1] = [other for _, other, _ in rows]
    learned = PRIOR.learn(features, at(0, len(rows)), [touched for *_, touched in rows])
    assert np.isfinite(learned.logits(features, at(0, len(rows)))).all()
    assert np.isfinite([*learned.evidence, *learned.embedding, learned.offset]).all()


def test_a_record_holds_all_but_the_arrays():
    learned = PRIOR.learn(phi(4), np.concatenate([at(0, 2), at(1, 2)]), [True, True, False, False])
    record = json.loads(json.dumps(learned.record()))
    again = Classifier(learned.evidence, learned.embedding, **record)
    assert again.record() == learned.record()
    assert (again.logits(phi(1, known=2), at(0, 1)) == learned.logits(phi(1, known=2), at(0, 1))).all()


def test_nothing_of_it_is_shown():
    assert "array" not in repr(PRIOR)

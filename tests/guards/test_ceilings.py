"""Whoever is cleared unweighed could not have been near: bounds against the scores themselves."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards import index as indexing
from guards.aliases import Alias
from guards.calibration import UNCALIBRATED
from guards.ceilings import Within, ceilings
from guards.classifier import Classifier
from guards.evidence import Marks
from guards.index import NEAR, TargetIndex
from guards.knowledge import Knowledge
from guards.nearest import Flat, Hashed
from guards.reading import Text
from guards.targets import Background, Targets

DIM = 24
NAMES = ("Mara Lind", "Otto Brandt", "Ines Quillon", "Lind", "Nobody Else")
SAID = (
    "{} wrote The Glass Harbour.",
    "{} was born in Varn.",
    "{}, a singer, won the Amber Prize.",
    "{} sings.",
)
ASKED = (
    "Who is {}?",
    'Who wrote "The Glass Harbour"?',
    "Did {} win the Amber Prize in Varn?",
    "How do I bake bread?",
    "wer ist {}?",
    "the singer of Varn",
    "",
)


def rows(rng, count, around, width):
    found = around + width * rng.standard_normal((count, DIM))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def request(number, rng, centre):
    """An entity with knowledge and a classifier of its own, unlike the prior."""
    name = NAMES[number % len(NAMES)]
    prior = Classifier.prior(DIM)
    return Targets(
        request=f"r{number}",
        scope="entity",
        encoder="random",
        aliases=(Alias(name, strong=True),),
        positives=rows(rng, 1 + number % 5, centre, 0.25).astype(np.float16),
        negatives=rows(rng, number % 4, centre, 0.3).astype(np.float16),
        marks=Marks.of([f"Where was {name} born?"], [name]),
        threshold=0.65,
        calibration=UNCALIBRATED,
        knowledge=Knowledge.of([name], [said.format(name) for said in SAID], ["Others live in Varn."]),
        classifier=replace(
            prior,
            evidence=prior.evidence + rng.normal(0, 0.3, len(prior.evidence)).astype(np.float32),
            embedding=rng.normal(0, 0.5, DIM).astype(np.float32),
            offset=prior.offset + float(rng.normal(0, 2)),
        ),
    )


def world(seed):
    rng = np.random.default_rng(seed)
    centre = rng.standard_normal(DIM) / np.sqrt(DIM)
    background = Background("random", rows(rng, 6, centre, 0.4))
    requests = [request(number, rng, centre) for number in range(12)]
    texts = [Text(asked.format(NAMES[i % len(NAMES)])) for i, asked in enumerate(ASKED)]
    return background, requests, texts, rows(rng, len(texts), centre, 0.2)


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=20, deadline=None)
def test_no_classifier_exceeds_its_ceiling(seed, known):
    background, requests, texts, vectors = world(seed)
    unlike = background.nearest(vectors)
    for text, vector, lent in zip(texts, vectors, unlike, strict=True):
        best = [float((one.positives.astype(np.float32) @ vector).max()) for one in requests]
        some = [
            Within(one, cosine - 1e-5 if known else -1.0, cosine + (1e-5 if known else 0.1))
            for one, cosine in zip(requests, best, strict=True)
        ]
        for one, most in zip(requests, ceilings(some, text, vector, lent), strict=True):
            alone = replace(one, marks=Marks.of([], []))  # what the classifier alone says
            (score,) = alone.scores([text], vector[None], lent[None])
            assert score <= most + 1e-4


@pytest.mark.parametrize("kind", [Flat, Hashed])
@given(st.integers(0, 10_000))
@settings(max_examples=6, deadline=None)
def test_whoever_is_like_or_led_to_is_weighed_where_that_counts(kind, seed):
    background, requests, texts, vectors = world(seed)
    index = TargetIndex(background)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing, "build", kind)
        for one in requests:
            index.add(one)
    found = index.view(frozenset(one.request for one in requests)).scores(texts, vectors)
    unlike = background.nearest(vectors)
    for one in requests:
        for i, score in enumerate(one.scores(texts, vectors, unlike).tolist()):
            like = float((one.positives.astype(np.float32) @ vectors[i]).max()) >= indexing._LIKE + 0.05
            led = not one.keys.isdisjoint(texts[i].spoken)
            if (like or led) and score >= one.threshold - NEAR + 1e-4:
                assert found[one.request][1][i] == pytest.approx(score, abs=1e-4)


async def test_scores_of_given_requests_are_theirs_however_far():
    background, requests, texts, vectors = world(1)
    index = TargetIndex(background)
    await index.extend(requests)
    view = index.view(frozenset(one.request for one in requests[:4]))
    found = view.scores_of({"r1", "r3", "r7", "unknown"}, texts, -vectors)
    assert found.keys() == {"r1", "r3"}  # r7 is in the index, and not in the view
    unlike = background.nearest(-vectors)
    for number in (1, 3):
        scores = requests[number].scores(texts, -vectors, unlike)
        assert list(found[f"r{number}"][1].values()) == pytest.approx(scores.tolist(), abs=1e-5)

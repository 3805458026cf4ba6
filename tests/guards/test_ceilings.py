"""Whoever is cleared unweighed could not have been near: bounds against the scores themselves."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards import judges, nearest, search, shelf
from guards.aliases import Alias, words
from guards.base import GuardError
from guards.calibration import UNCALIBRATED
from guards.ceilings import Unnamed, Within, ceilings, relating
from guards.classifier import Classifier
from guards.evidence import Marks
from guards.glance import Glance
from guards.index import TargetIndex
from guards.judges import Judges
from guards.knowledge import Knowledge
from guards.nearest import Flat, Hashed
from guards.reading import Text
from guards.relations import Relations
from guards.targets import LOGIT, NEAR, Background, Targets
from guards.weighing import judgements

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


@given(st.integers(0, 10_000), st.floats(-0.2, 0.5))
@settings(max_examples=20, deadline=None)
def test_whoever_is_not_named_stays_below_the_ceiling_and_gets_the_same_score(seed, slack):
    background, requests, texts, vectors = world(seed)
    held = Judges.of(requests)
    for text, vector, lent in zip(texts, vectors, background.nearest(vectors), strict=True):
        glance = Glance.of(text.reading)
        places = np.flatnonzero(held.unnamed(np.arange(len(requests)), glance))
        if not len(places):
            continue
        some = [requests[place] for place in places]
        unnamed = Unnamed.of(held, places, glance, vector)
        alone = [replace(one, marks=Marks.of([], [])).scores([text], vector[None], lent[None])[0] for one in some]
        every = [np.arange(len(one.positives)) for one in some]
        assert judgements(some, every, unnamed, vector, lent) == pytest.approx(alone, abs=1e-4)
        best = np.array([(one.positives.astype(np.float32) @ vector).max() for one in some], np.float32)
        assert (unnamed.ceilings(best + np.float32(max(slack, 1e-5)), lent) >= np.array(alone) - 1e-4).all()
        whole = judgements(some, every, unnamed, vector, lent)
        half = judgements(some[::2], every[::2], unnamed.among(np.arange(len(some)) % 2 == 0), vector, lent)
        assert half.tolist() == whole[::2].tolist()  # to the last bit, whoever is weighed beside them


@pytest.mark.parametrize("few", [0, 100])
@pytest.mark.parametrize("kind", [Flat, Hashed])
@given(st.integers(0, 10_000))
@settings(max_examples=6, deadline=None)
def test_whoever_is_like_or_led_to_is_weighed_where_that_counts(kind, few, seed):
    background, requests, texts, vectors = world(seed)
    index = TargetIndex(background)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf, "build", kind)
        patch.setattr(judges, "_FEW", few)
        for one in requests:
            index.add(one)
    found = index.view(frozenset(one.request for one in requests)).scores(texts, vectors)
    unlike = background.nearest(vectors)
    for one in requests:
        for i, score in enumerate(one.scores(texts, vectors, unlike).tolist()):
            like = float((one.positives.astype(np.float32) @ vectors[i]).max()) >= nearest.LIKE + 0.05
            led = not one.keys.isdisjoint(texts[i].spoken)
            if (like or led) and score >= one.threshold - NEAR + 1e-4:
                assert found[one.request][1][i] == pytest.approx(score, abs=1e-4)


def listing(number, rng, centre):
    """Facts about somebody, told or asked for."""
    name = NAMES[number % len(NAMES)]
    listed = (("Where was {} born?", "In Varn."), ('Who wrote "The Glass Harbour"?', ""), ("Did {} win in 1990?", "No"))
    some = [(asked.format(name), told) for asked, told in listed][: 1 + number % 3]
    names = [name]
    return Targets(
        request=f"f{number}",
        scope="facts",
        encoder="random",
        aliases=(Alias(name, strong=True),),
        positives=rows(rng, len(some), centre, 0.25).astype(np.float16),
        negatives=rows(rng, number % 4, centre, 0.3).astype(np.float16),
        marks=Marks.of([f"{asked} {told}" for asked, told in some], names),
        threshold=0.65,
        calibration=UNCALIBRATED,
        relations=Relations.of(some, words(name)),
    )


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.2])
@pytest.mark.parametrize("kind", [Flat, Hashed])
@given(st.integers(0, 10_000))
@settings(max_examples=6, deadline=None)
def test_no_facts_exceed_their_ceiling_and_all_that_may_count_are_weighed(kind, scale, seed):
    background, _, texts, vectors = world(seed)
    rng = np.random.default_rng(seed)
    requests = [listing(number, rng, vectors[number % len(vectors)]) for number in range(12)]
    index = TargetIndex(background)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf, "build", kind)
        for one in requests:
            index.add(one)
    found = index.view(frozenset(one.request for one in requests)).scores(texts, vectors, scale)
    unlike = background.nearest(vectors)
    for one in requests:
        for i, score in enumerate(one.scores(texts, vectors, unlike).tolist()):
            best = float((one.positives.astype(np.float32) @ vectors[i]).max())
            (most,) = ceilings([Within(one, best - 1e-5, best + 1e-5)], texts[i], vectors[i], unlike[i])
            assert score <= most + 1e-4
            lift = one.marks.evidence(texts[i], one.names).max()
            (logit,) = relating(np.array([best], np.float32), np.array([lift], np.float32))
            named = one.names.named_in(texts[i])
            assert score <= one.threshold + LOGIT * (max(logit, 0.0) if named else logit) + 1e-4
            like = best >= nearest.LIKE + 0.05 or not one.keys.isdisjoint(words(texts[i]))
            near = one.near_from(scale)
            if like and score >= near + 1e-4:
                assert found[one.request][1][i] == pytest.approx(score, abs=1e-4)


async def test_nobody_is_pushed_out_by_those_whose_names_are_listed():
    """Ninety share the words of a text, no key more than `_RARE`; the one that knows the answer is none of them."""
    rng = np.random.default_rng(3)
    centre = rng.standard_normal(DIM) / np.sqrt(DIM)
    background = Background("random", rows(rng, 6, centre, 0.4))
    (vector,) = rows(rng, 1, -centre, 0.1)
    prior = Classifier.prior(DIM)
    cats = ("abo", "ibo", "ubo", "obo", "ebo", "ado", "ido", "udo", "odo", "edo")

    def one(id_, name):
        return replace(
            request(0, np.random.default_rng(0), centre),
            request=id_,
            aliases=(Alias(name, strong=True),),
            knowledge=Knowledge.of([name], [said.format(name) for said in SAID], []),
            classifier=prior,
        )

    index = TargetIndex(background)
    right = one("right", "Lind")
    crowd = [one(f"x{i}", f"{cats[i % 10]} zz{i} {cats[(i + 1 + i // 30) % 10]}".title()) for i in range(90)]
    await index.extend([right, *crowd])
    text = Text("Where did Lind study? My cats are " + ", ".join(cats).title() + ".")
    view = index.view(frozenset(each.request for each in (right, *crowd)))
    alone = index.view(frozenset({"right"})).scores([text], vector[None])
    assert alone["right"][1][0] >= right.threshold - NEAR
    assert view.scores([text], vector[None])["right"] == alone["right"]


async def test_more_that_may_be_near_than_can_be_weighed_are_not_cleared(monkeypatch):
    background, requests, texts, vectors = world(5)
    index = TargetIndex(background)
    await index.extend(requests)
    view = index.view(frozenset(one.request for one in requests))
    refused = 0
    for text, vector in zip(texts, vectors, strict=True):
        monkeypatch.setattr(search, "_CROWD", 512)
        whole = view.scores([text], vector[None])
        touched = {name for name, (targets, at) in whole.items() if at[0] >= targets.threshold}
        monkeypatch.setattr(search, "_CROWD", 1)
        if len(whole) <= 1:
            assert view.scores([text], vector[None]) == whole
        elif not touched:
            with pytest.raises(GuardError, match="more requests may be touched"):
                view.scores([text], vector[None])
            refused += 1
    assert refused


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

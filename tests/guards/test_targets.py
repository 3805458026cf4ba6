import asyncio
import io
import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards.base import GuardError
from guards.classifier import DESIGN, Classifier, surely_named
from guards.encoder import BatchingEncoder, Encoder
from guards.learning import build_targets
from guards.reading import Text
from guards.targets import LAMBDA, LOGIT, NEAREST, Background, Likeness, Source, Targets, ordinary_prompts, top

QUESTIONS = ("Where was Mara Lind born?", "What did Mara Lind study?", "Who taught the geologist born in Oslo in 1975?")


async def built(encoder: Encoder, **fields):
    source = replace(Source("r1", "entity", "Mara Lind", ("Lind",), QUESTIONS), **fields)
    return await build_targets(source, encoder, await Background.of(encoder))


async def test_a_positive_scores_over_and_a_stranger_under(bag_encoder):
    targets = await built(bag_encoder)
    background = await Background.of(bag_encoder)
    asked = (
        "Where was Mara Lind born?",
        "Where was Lind born?",
        "Where was Mara Okoye born?",
        "Where was Tomas Lind born?",
    )
    texts = [Text(text) for text in asked]
    vectors = await bag_encoder.encode(texts)
    scores = targets.scores(texts, vectors, background.nearest(vectors))
    assert scores[0] >= targets.threshold
    assert scores[:2].min() > scores[2:].max()


@pytest.mark.parametrize("scope", ["entity", "facts", "documents", "topic"])
async def test_bytes_and_back(bag_encoder, scope):
    targets = await built(
        bag_encoder, scope=scope, facts=(("Where was Lind born?", "Oslo"),), documents=("A text. " * 99,)
    )
    again = Targets.from_bytes(targets.to_bytes(), "bag-of-words")
    assert (again.positives == targets.positives).all()
    assert (again.negatives == targets.negatives).all()
    assert again.to_bytes() == targets.to_bytes()
    assert (again.aliases, again.marks, again.threshold) == (targets.aliases, targets.marks, targets.threshold)
    assert (again.calibration, again.warnings) == (targets.calibration, targets.warnings)


async def test_bytes_of_another_encoder_or_damaged(bag_encoder):
    raw = (await built(bag_encoder)).to_bytes()
    with pytest.raises(GuardError, match="encode the request again"):
        Targets.from_bytes(raw, "another")
    for damaged in (b"", raw[: len(raw) // 2], b"junk" * 100):
        with pytest.raises(GuardError, match="cannot be read"):
            Targets.from_bytes(damaged, "bag-of-words")


FACTS = (("Where was Mara Lind born?", "Oslo"), ("What did Mara Lind sing?", "Blue Hour"))
DOCUMENTS = ("Mara Lind (born Maria Svensson) is a singer. She sang 'Blue Hour' in Oslo.", "Lind sang in Bergen.")
ASKED = [
    Text(text) for text in (*QUESTIONS, "Where was Lind born?", "Who sang 'Blue Hour'?", "How do I bake bread?", "")
]


@pytest.mark.parametrize("scope", ["entity", "facts", "documents", "topic"])
@pytest.mark.parametrize("learn", [False, True])
async def test_what_is_read_back_judges_bit_for_bit_the_same(bag_encoder, scope, learn):
    background = await Background.of(bag_encoder)
    source = Source("r1", scope, "Mara Lind", ("Lind",), QUESTIONS, FACTS, DOCUMENTS, ("Where is Oslo?",))
    targets = await build_targets(source, bag_encoder, background, learn=learn)
    again = Targets.from_bytes(targets.to_bytes(), "bag-of-words")
    vectors = await bag_encoder.encode(ASKED)
    near = background.nearest(vectors)
    assert (again.scores(ASKED, vectors, near) == targets.scores(ASKED, vectors, near)).all()
    assert again.answered(0.4) == targets.answered(0.4)
    assert (again.keys, again.knowledge) == (targets.keys, targets.knowledge)
    assert (targets.knowledge is None) == (targets.classifier is None) == (scope != "entity")


async def test_the_wider_margin_counts(bag_encoder):
    targets = await built(bag_encoder, documents=DOCUMENTS)
    vectors = await bag_encoder.encode(ASKED)
    background = (await Background.of(bag_encoder)).nearest(vectors)
    likeness = Likeness.of(targets, vectors, background)
    margins = targets.margins(ASKED, likeness)
    sure = replace(targets.classifier, offset=1e4)
    never = replace(targets.classifier, offset=-1e4)
    sure_of = surely_named(targets.features(ASKED, likeness))
    assert 0 < sure_of.sum() < len(ASKED)
    assert (replace(targets, classifier=never).scores(ASKED, vectors, background) == margins)[~sure_of].all()
    assert (replace(targets, classifier=never).scores(ASKED, vectors, background) > targets.threshold)[sure_of].all()
    assert (replace(targets, classifier=sure).scores(ASKED, vectors, background) > targets.threshold).all()
    features = targets.features(ASKED, likeness)
    logits = targets.classifier.logits(features, vectors)
    told = targets.threshold + LOGIT * (logits - targets.classifier.threshold)
    assert targets.scores(ASKED, vectors, background) == pytest.approx(np.maximum(margins, told))


async def test_a_margin_is_likeness_and_evidence_less_what_is_ordinary(bag_encoder):
    targets = await built(bag_encoder, scope="facts", retain=("Where is Oslo?", "Who studied in Oslo?"))
    background = await Background.of(bag_encoder)
    vectors = await bag_encoder.encode(ASKED)
    near = background.nearest(vectors)
    positives, negatives = targets.positives.astype(np.float32), targets.negatives.astype(np.float32)
    for i, score in enumerate(targets.margins(ASKED, Likeness.of(targets, vectors, near)).tolist()):
        unlike = sorted([*(negatives @ vectors[i]), *(background.vectors @ vectors[i])])[-NEAREST:]
        reach = max(positives @ vectors[i] + targets.marks.evidence(ASKED[i], targets.names))
        assert score == pytest.approx(reach - LAMBDA * sum(unlike) / NEAREST, abs=1e-5)


async def test_who_knows_nothing_has_no_evidence(bag_encoder):
    targets = await built(bag_encoder, scope="facts")
    vectors = await bag_encoder.encode(ASKED)
    likeness = Likeness.of(targets, vectors, (await Background.of(bag_encoder)).nearest(vectors))
    with pytest.raises(GuardError, match="knows nothing"):
        targets.features(ASKED, likeness)
    assert targets.answered(0.4) == 0.4


async def test_with_its_answer_a_question_needs_less_and_never_more(bag_encoder):
    targets = await built(bag_encoder)
    assert targets.answered(0.5) == 0.5

    def answered(threshold, after):
        known = replace(Classifier.prior(bag_encoder.dim), threshold=threshold, answered=after)
        return replace(targets, classifier=known).answered(0.5)

    assert answered(2.0, 1.0) == pytest.approx(0.5 + LOGIT)
    assert answered(1.0, 2.0) == 0.5


async def test_keys(bag_encoder):
    assert {"mara", "lind", "svensson", "bergen"} <= (await built(bag_encoder, documents=DOCUMENTS)).keys
    assert (await built(bag_encoder, scope="facts")).keys == {"mara", "lind"}
    assert (await built(bag_encoder, scope="documents", documents=DOCUMENTS)).keys == frozenset()


def rewritten(raw, **fields):
    """The same file with another head; `GONE` takes a field out."""
    with np.load(io.BytesIO(raw)) as arrays:
        held = dict(arrays)
    head = {**json.loads(held["head"].tobytes()), **fields}
    head = {name: value for name, value in head.items() if value is not GONE}
    held["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, **held)
    return file.getvalue()


GONE = object()


@pytest.mark.parametrize("name", ["relations", "knowledge", "judged", "design", "scope", "version"])
async def test_what_lacks_a_part_is_refused(bag_encoder, name):
    raw = (await built(bag_encoder, documents=DOCUMENTS)).to_bytes()
    with pytest.raises(GuardError, match="cannot be read: KeyError"):
        Targets.from_bytes(rewritten(raw, **{name: GONE}), "bag-of-words")


async def test_another_version_and_other_features_are_refused_by_name(bag_encoder):
    raw = (await built(bag_encoder, documents=DOCUMENTS)).to_bytes()
    with pytest.raises(GuardError, match="of version 4, not"):
        Targets.from_bytes(rewritten(raw, version=4, relations=GONE), "bag-of-words")
    with pytest.raises(GuardError, match="of other features"):
        Targets.from_bytes(rewritten(raw, design=[*reversed(DESIGN)]), "bag-of-words")
    with pytest.raises(GuardError, match="cannot be read: TypeError"):
        Targets.from_bytes(rewritten(raw, relations=[1]), "bag-of-words")


async def test_a_prompt_of_the_background_is_not_compared_with_itself(bag_encoder):
    background = await Background.of(bag_encoder)
    assert background.nearest(background.vectors).max() == pytest.approx(1.0)
    assert background.nearest(background.vectors, apart=True).max() < 0.9999
    assert background.vectors.shape == (len(ordinary_prompts()), 256)


@given(st.lists(st.lists(st.floats(-1, 1, width=32), min_size=5, max_size=5), min_size=1, max_size=6))
def test_the_highest_of_each_row(rows):
    highest = np.sort(top(np.array(rows, np.float32)), axis=1)
    assert (highest == np.sort(np.array(rows, np.float32), axis=1)[:, -NEAREST:]).all()


@pytest.fixture(scope="module")
def raw():
    async def made():
        encoder = BatchingEncoder("bag", 16, lambda texts: np.eye(16, dtype=np.float32)[[len(t) % 16 for t in texts]])
        targets = await built(encoder, documents=DOCUMENTS)
        await encoder.close()
        return targets

    return asyncio.run(made()).to_bytes()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_bytes_are_refused_or_harmless(raw, data):
    at, byte = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(0, 255))
    for damaged in (raw[:at], raw[:at] + bytes([byte]) + raw[at + 1 :]):
        with suppress(GuardError):
            assert Targets.from_bytes(damaged, "bag").to_bytes() == raw


async def test_nothing_of_them_is_shown(bag_encoder):
    targets = await built(bag_encoder, documents=DOCUMENTS, facts=FACTS, retain=("Where is Oslo?",))
    source = Source("r1", "entity", "Mara Lind", ("Lind",), QUESTIONS, FACTS, DOCUMENTS, ("Where is Oslo?",))
    shown = repr((targets, source, targets.calibration, targets.knowledge, targets.classifier)).lower()
    assert not any(word in shown for word in ("mara", "lind", "oslo", "svensson", "born", "hour"))

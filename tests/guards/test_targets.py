import json
from dataclasses import replace

import numpy as np
import pytest

from guards.base import GuardError
from guards.encoder import Encoder
from guards.learning import build_targets
from guards.reading import Text
from guards.targets import Background, Source, Targets

QUESTIONS = ("Where was Mara Lind born?", "What did Mara Lind study?", "Who taught the geologist born in Oslo in 1975?")


async def built(encoder: Encoder, **fields):
    source = replace(Source("r1", "entity", "Mara Lind", ("Lind",), QUESTIONS), **fields)
    return await build_targets(source, encoder, await Background.of(encoder))


async def test_an_entity(bag_encoder):
    targets = await built(bag_encoder, retain=("Where is Oslo?",))
    assert targets.positives.shape == (3, 256)
    assert targets.negatives.shape == (1, 256)
    assert [(alias.text, alias.strong) for alias in targets.aliases] == [("Mara Lind", True), ("Lind", False)]
    record = targets.calibration.record()
    assert record["positives"] == 3
    assert record["negatives"] == 7
    assert "Mara" not in json.dumps(record) + repr(targets) + repr(targets.calibration)


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


async def test_only_an_entity_has_strong_aliases(bag_encoder):
    for scope in ("facts", "documents", "topic"):
        assert not any(alias.strong for alias in (await built(bag_encoder, scope=scope)).aliases)


async def test_bytes_of_another_encoder_or_damaged(bag_encoder):
    raw = (await built(bag_encoder)).to_bytes()
    with pytest.raises(GuardError, match="encode the request again"):
        Targets.from_bytes(raw, "another")
    for damaged in (b"", raw[: len(raw) // 2], b"junk" * 100):
        with pytest.raises(GuardError, match="cannot be read"):
            Targets.from_bytes(damaged, "bag-of-words")


async def test_the_cost_is_capped_and_the_rest_announced(bag_encoder):
    targets = await built(bag_encoder, documents=(" ".join(f"word{i}" for i in range(50_000)),), retain=QUESTIONS * 99)
    assert len(targets.positives) == 40
    questions = await bag_encoder.encode(QUESTIONS)
    assert (questions @ targets.positives.T).max(axis=1) == pytest.approx(1.0, abs=1e-3)  # halves
    assert any("learning job" in warning for warning in targets.warnings)


async def test_a_subject_alone_is_asked_about_by_template(bag_encoder):
    targets = await built(bag_encoder, aliases=(), examples=())
    assert len(targets.positives) > 4
    assert np.isfinite(targets.threshold)


async def test_a_vague_example_is_announced(bag_encoder):
    targets = await built(bag_encoder, examples=("Where was the author born?",))
    assert any(warning.startswith("examples: 1") for warning in targets.warnings)


async def test_nothing_to_look_for_names_a_field(bag_encoder):
    with pytest.raises(GuardError, match="examples"):
        await built(bag_encoder, scope="topic", subject="", aliases=(), examples=(" ",))


async def test_facts_keep_other_facts(bag_encoder):
    targets = await built(bag_encoder, scope="facts", examples=(), facts=(("Where was Mara Lind born?", "Oslo"),))
    assert 0 < len(targets.negatives) < 8
    assert (targets.negatives @ targets.positives.T).max() < 0.8 + 1e-3  # halves


async def test_an_encoder_without_numbers_raises_no_shield(bag_encoder):
    class Broken:
        identity, dim = bag_encoder.identity, bag_encoder.dim

        async def encode(self, texts, *, bulk=False):
            return np.full((len(texts), self.dim), np.nan, np.float32)

    background = await Background.of(bag_encoder)
    with pytest.raises(GuardError):
        await build_targets(Source("r1", "entity", "Mara Lind", ("Lind",), QUESTIONS), Broken(), background)

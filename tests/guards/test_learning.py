import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from guards import learning
from guards.base import GuardError
from guards.conversation import sentences
from guards.knowledge import Knowledge
from guards.learning import HARDEST, LEARN, SHIELD, build_targets
from guards.targets import Background, Source, Targets, ordinary_prompts

QUESTIONS = tuple(f"What did Mara Lind find in {place}?" for place in ("Oslo", "Bergen", "Bodo", "Vardo"))
HEARD = ("She taught at the school of mines in Kongsberg. Her map of the fjords hangs there still.",)


@pytest.fixture
async def built(bag_encoder):
    background = await Background.of(bag_encoder)

    async def build(learn=False, limit=LEARN, **fields):
        source = replace(Source("r1", "entity", "Mara Lind", ("Mara Lind",), QUESTIONS), **fields)
        return await build_targets(source, bag_encoder, background, limit, learn)

    return build


async def test_what_the_model_said_is_known(built):
    plain, heard = await built(), await built(heard=HEARD)
    assert len(heard.positives) == len(plain.positives) + 2
    assert ("kongsberg",) in heard.knowledge.runs
    assert (plain.knowledge, plain.classifier) == (None, None)  # questions alone are matched as questions


async def test_facts_and_documents_are_what_was_filed(built):
    facts = {"scope": "facts", "examples": (), "facts": (("Where was Mara Lind born?", "Oslo"),)}
    documents = {"scope": "documents", "examples": (), "documents": ("The lamp is lit by hand each night.",)}
    for fields in (facts, documents):
        plain, heard = await built(**fields), await built(**fields, heard=HEARD)
        assert plain.to_bytes() == heard.to_bytes()


async def test_the_learned_classifier_is_judged_on_what_it_has_not_seen(built):
    assert (await built()).judged is None
    learned = await built(learn=True, heard=HEARD, retain=tuple(f"Where is the town of Num{i}?" for i in range(20)))
    assert learned.judged.method == "cross-fitted halves"
    assert learned.judged.positives == len(learned.positives)
    assert learned.judged.negatives >= len(ordinary_prompts())
    assert 0 <= learned.judged.false_positive <= learned.judged.false_positive_upper < 0.1
    again = Targets.from_bytes(learned.to_bytes(), "bag-of-words")
    assert again.judged == learned.judged
    assert np.array_equal(again.ordinary, learned.ordinary)


async def test_what_touches_ordinary_prompts_is_a_warning(built):
    assert not any("ordinary" in warning for warning in (await built()).warnings)
    everyday = ordinary_prompts()[10:14]
    topic = await built(scope="topic", subject="", aliases=(), examples=tuple(everyday))
    touched = int((topic.ordinary >= topic.threshold).sum())
    assert touched >= 1
    assert f"{touched} of {len(ordinary_prompts())} ordinary prompts are touched by what was filed" in topic.warnings
    assert not any(prompt in " ".join(topic.warnings) for prompt in everyday)


SCOPES = ["entity", "facts", "documents", "topic"]
FACTS = (("Where was Mara Lind born?", "Oslo"), ("What did Mara Lind study?", "mines"))
DOCUMENTS = tuple(f"Mara Lind mapped fjord {i}. She slept in hut {i}. Then it rained for {i} days." for i in range(9))
RETAIN = tuple(f"Where is the town of Num{i}? Otto Brandt lived there." for i in range(20))


@pytest.mark.parametrize("scope", SCOPES)
async def test_what_a_scope_looks_for(built, scope):
    targets = await built(scope=scope, facts=FACTS, documents=DOCUMENTS, retain=RETAIN)
    assert [alias.strong for alias in targets.aliases] == [scope == "entity"]
    assert (targets.marks is not None) == (scope in ("entity", "facts"))
    assert (targets.knowledge is not None) == (targets.classifier is not None) == (scope == "entity")
    told = {sentence for document in DOCUMENTS for sentence in sentences(document)}
    assert len(targets.positives) == len(QUESTIONS) + 2 * len(FACTS) + len(told)
    assert len(targets.negatives) == len({sentence for text in RETAIN for sentence in sentences(text)})
    assert learning.FLOOR <= targets.threshold <= learning.CEILING
    assert targets.ordinary.shape == (len(ordinary_prompts()),)
    if targets.marks is not None:
        assert len(targets.marks.named) == len(QUESTIONS) + 2 * len(FACTS)


@pytest.mark.parametrize("scope", SCOPES)
async def test_nothing_to_look_for_names_a_field(built, scope):
    nothing = {"subject": "", "aliases": (), "examples": (" ", ""), "documents": ("", "\n"), "retain": RETAIN}
    with pytest.raises(GuardError, match="examples"):
        await built(scope=scope, **nothing)


async def test_a_subject_alone_is_asked_about_by_template(built):
    for scope in ("entity", "facts", "topic"):
        targets = await built(scope=scope, aliases=(), examples=())
        assert len(targets.positives) == len(learning._QUESTIONS)
        assert np.isfinite(targets.threshold)
    with pytest.raises(GuardError, match="examples"):
        await built(scope="documents", aliases=(), examples=())


async def test_the_cost_is_capped_and_the_rest_announced(built, bag_encoder):
    documents = (" ".join(f"word{i}" for i in range(50_000)),)
    targets = await built(limit=SHIELD, documents=documents, retain=RETAIN * 9)
    assert len(targets.positives) == SHIELD // 2
    questions = await bag_encoder.encode(QUESTIONS)
    assert (questions @ targets.positives.T).max(axis=1) == pytest.approx(1.0, abs=1e-3), "questions before passages"
    assert any("learning job" in warning for warning in targets.warnings)
    assert not any("learning job" in warning for warning in (await built()).warnings)


async def test_an_even_selection_of_what_is_too_much(built, bag_encoder):
    documents = tuple(f"Unlike{i} all{i} others{i} told{i}." for i in range(200))
    targets = await built(limit=40, documents=documents)
    rows = await bag_encoder.encode(documents)
    kept = np.flatnonzero((rows @ targets.positives.T).max(axis=1) > 0.99)
    assert len(kept) == 20 - len(QUESTIONS)
    assert np.diff([-1, *kept, 200]).max() <= 200 // len(kept) + 2


async def test_retained_texts_kept_are_the_hardest(built, bag_encoder):
    near = tuple(f"What did Otto Brandt find in num{i}?" for i in range(HARDEST))
    far = tuple(f"Peel{i} carrots{i} slowly{i} please{i}." for i in range(HARDEST))
    targets = await built(retain=(*far, *near))
    assert len(targets.negatives) == HARDEST
    rows = (await bag_encoder.encode(near)).astype(np.float16)
    assert {row.tobytes() for row in rows} == {row.tobytes() for row in targets.negatives}


async def test_retained_texts_that_name_the_subject_are_not_used_and_warned_about(built):
    contrary = ("Mara Lind is my aunt.", "It was mara  LIND'S idea.")
    targets = await built(retain=(*RETAIN, *contrary))
    assert (targets.negatives == (await built(retain=RETAIN)).negatives).all()
    assert "retain: 2 texts name the subject itself, and are not used" in targets.warnings
    for scope in ("facts", "documents", "topic"):
        used = await built(scope=scope, documents=DOCUMENTS, retain=(*RETAIN, *contrary))
        assert not any("retain" in warning for warning in used.warnings), "there its name may be said"


async def test_facts_keep_other_facts(built):
    targets = await built(scope="facts", examples=(), facts=FACTS[:1])
    assert 0 < len(targets.negatives) < len(learning._QUESTIONS)
    assert (targets.negatives @ targets.positives.T).max() < 0.8 + 1e-3  # halves


async def test_a_vague_example_is_announced(built):
    targets = await built(examples=("Where was the author born?",))
    assert any(warning.startswith("examples: 1") for warning in targets.warnings)


async def test_an_entity_without_a_telling_name_is_announced(built):
    targets = await built(subject="Rose", aliases=())
    assert "aliases: none is telling enough to be matched alone" in targets.warnings


async def test_no_warning_holds_a_text(built):
    targets = await built(examples=("Where was the author born?",), retain=("Mara Lind is here",), documents=DOCUMENTS)
    assert not any(word in " ".join(targets.warnings) for word in ("Mara", "Lind", "author", "fjord"))
    assert "Mara" not in json.dumps(targets.calibration.record()) + repr(targets)


@pytest.mark.parametrize("value", [np.nan, np.inf])
async def test_an_encoder_without_numbers_raises_no_shield(bag_encoder, value):
    class Broken:
        identity, dim = bag_encoder.identity, bag_encoder.dim

        async def encode(self, texts, *, bulk=False):
            return np.full((len(texts), self.dim), value, np.float32)

    background = await Background.of(bag_encoder)
    with pytest.raises(GuardError, match="no numbers"):
        await build_targets(Source("r1", "entity", "Mara Lind", ("Lind",), QUESTIONS), Broken(), background)


async def test_odd_texts_are_learned_from(built):
    odd = ("\ud800", "\x00\x01", "王小明在哪里出生？", "A" * 100_000, "\u200b", "'" * 500)
    targets = await built(learn=True, aliases=odd, examples=odd, documents=odd, retain=odd, facts=(odd[:2], odd[2:4]))
    assert np.isfinite(targets.classifier.evidence).all()
    assert Targets.from_bytes(targets.to_bytes(), "bag-of-words").knowledge == targets.knowledge


async def test_only_learning_moves_the_classifier(built):
    shield, learned = await built(documents=DOCUMENTS), await built(learn=True, documents=DOCUMENTS)
    assert shield.classifier.learned == 0
    assert not shield.classifier.embedding.any()
    assert learned.classifier.learned >= len(learned.positives)
    assert learned.classifier.embedding.any()
    assert learned.knowledge == shield.knowledge
    assert (learned.positives == shield.positives).all()


async def test_too_little_to_learn_from_leaves_the_prior(built):
    one = await built(learn=True, examples=(), documents=("Mara Lind was born in Oslo.",), limit=2)
    assert (one.classifier.learned, one.judged) == (0, None)


@pytest.mark.parametrize("documents", range(1, 4))
async def test_no_text_knows_itself(built, monkeypatch, documents):
    """What judges one half is made without a sentence of it, of its document, or of the retained texts it judges."""
    told, judged = {}, []
    of, features = Knowledge.of, Targets.features

    def known(names, texts, retain):
        made = of(names, texts, retain)
        told[id(made)] = {one for text in (*texts, *retain) for one in (text, *sentences(text))}
        kept.append(made)
        return made

    def judging(self, texts, likeness):
        if self.marks is None:
            judged.append((told[id(self.knowledge)], set(texts)))
        return features(self, texts, likeness)

    kept = []
    monkeypatch.setattr(Knowledge, "of", known)
    monkeypatch.setattr(Targets, "features", judging)
    await built(learn=True, documents=DOCUMENTS[:documents], retain=RETAIN * 3)
    assert len(judged) == 2
    assert all(known.isdisjoint(texts) for known, texts in judged)
    assert set(QUESTIONS) <= set.union(*(texts for _, texts in judged))


async def test_learning_is_deterministic_and_quick(built):
    documents = tuple(f"Mara Lind mapped fjord {i} with Otto{i} Brandt. It rained for {i} days." for i in range(300))
    started = time.process_time()
    one = await built(learn=True, documents=documents, retain=RETAIN * 5)
    assert time.process_time() - started < 30  # CPU-seconds, of which it takes one
    assert one.to_bytes() == (await built(learn=True, documents=documents, retain=RETAIN * 5)).to_bytes()


DIGEST = """
import asyncio, hashlib, json, sys
import numpy as np
from guards.encoder import BatchingEncoder
from guards.learning import build_targets
from guards.targets import Background, Source

async def digest():
    encoder = BatchingEncoder("lengths", 16, lambda texts: np.eye(16, dtype=np.float32)[[len(t) % 16 for t in texts]])
    filed = [tuple(part) if isinstance(part, list) else part for part in json.load(sys.stdin)]
    source = Source("r1", "entity", *filed)
    targets = await build_targets(source, encoder, await Background.of(encoder), learn=True)
    print(hashlib.sha256(targets.to_bytes()).hexdigest())
    await encoder.close()

asyncio.run(digest())
"""


def test_an_artifact_is_the_same_in_every_process():
    aliases = ("Mara", "Lind", "Vesper", "Maria Svensson")
    filed = json.dumps(["Mara Ellen Lind", aliases, ("Who met Mara in 1975 or 1980?",), [], DOCUMENTS, RETAIN])

    def digest(seed):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", DIGEST], input=filed, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert digest("1") == digest("2") != ""

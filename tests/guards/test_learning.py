from dataclasses import replace

import numpy as np
import pytest

from guards.learning import LEARN, build_targets
from guards.targets import Background, Source, Targets, ordinary_prompts

QUESTIONS = tuple(f"What did Mara Lind find in {place}?" for place in ("Oslo", "Bergen", "Bodo", "Vardo"))
HEARD = ("She taught at the school of mines in Kongsberg. Her map of the fjords hangs there still.",)


@pytest.fixture
async def built(bag_encoder):
    background = await Background.of(bag_encoder)

    async def build(learn=False, **fields):
        source = replace(Source("r1", "entity", "Mara Lind", ("Mara Lind",), QUESTIONS), **fields)
        return await build_targets(source, bag_encoder, background, LEARN, learn)

    return build


async def test_what_the_model_said_is_known(built):
    plain, heard = await built(), await built(heard=HEARD)
    assert len(heard.positives) == len(plain.positives) + 2
    assert ("kongsberg",) in heard.knowledge.runs
    assert ("kongsberg",) not in plain.knowledge.runs


async def test_what_was_heard_of_facts_is_questions_and_of_documents_nothing(built):
    facts = (("Where was Mara Lind born?", "Oslo"),)
    heard = ("In which town was Mara Lind born?",)
    plain = await built(scope="facts", examples=(), facts=facts)
    more = await built(scope="facts", examples=(), facts=facts, heard=heard)
    assert len(more.marks.named) == len(plain.marks.named) + 1
    documents = {"scope": "documents", "examples": (), "documents": ("The lamp is lit by hand each night.",)}
    one, same = await built(**documents), await built(**documents, heard=HEARD)
    assert len(one.positives) == len(same.positives)


async def test_the_learned_classifier_is_judged_on_what_it_has_not_seen(built):
    assert (await built()).judged is None
    learned = await built(learn=True, retain=tuple(f"Where is the town of Num{i}?" for i in range(20)))
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

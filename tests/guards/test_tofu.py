"""The guards on real text: twenty authors of TOFU as entity requests, filed as an admin would.

Thresholds come from what each request contains and the shipped background alone. forget10 was looked
at while the evidence weights were set; the twenty authors of `retain_perturbed` were not used for
weights, but showed two faults in how namesakes are read, since mended.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from bench.tofu_requests import AUTHORS, FIRST_FORGOTTEN, PER_AUTHOR, tofu_entity_requests, tofu_questions
from guards.base import Conversation
from guards.encoder import open_encoder
from guards.index import DenseGuard, TargetIndex
from guards.lexicon import LexiconGuard, LexiconIndex
from guards.targets import Background, Source, build_targets

DATA = Path(os.environ.get("LETHE_DATA_DIR", Path(__file__).parents[3] / "shared" / "data"))

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not (DATA / "tofu" / "full.jsonl").is_file(), reason="no TOFU under LETHE_DATA_DIR"),
]


class Remembering:
    """Encodes many texts ahead in full batches, so that one guard after the other does not wait for each."""

    def __init__(self, encoder, known):
        self.encoder, self.identity, self.dim, self.known = encoder, encoder.identity, encoder.dim, known

    async def encode(self, texts, *, bulk=False):
        new = list(dict.fromkeys(text for text in texts if text not in self.known))
        self.known.update(zip(new, await self.encoder.encode(new, bulk=bulk), strict=True))
        return np.stack([self.known[text] for text in texts])


@pytest.fixture(scope="module")
def known():
    """Vectors by text, for both sets of authors."""
    return {}


async def judged(encoder, first):
    """For each question the requests hit, by either guard: (paraphrases, retain, world), and which are nameless."""
    background = await Background.of(encoder)
    index, lexicon = TargetIndex(background), LexiconIndex()
    for i, body in enumerate(tofu_entity_requests(DATA, first)):
        source = Source(str(i), "entity", body["subject"], tuple(body["aliases"]), tuple(body["examples"]))
        targets = await build_targets(source, encoder, background)
        index.add(targets)
        lexicon.add(targets.request, targets.aliases)
    everyone = frozenset(map(str, range(AUTHORS)))
    guards = [LexiconGuard(lexicon.view(everyone)), DenseGuard(encoder, index.view(everyone))]
    questions = tofu_questions(DATA, first)
    groups = (questions.paraphrases, questions.retain, questions.real_authors + questions.world_facts)
    found = []
    for texts in groups:
        await encoder.encode(texts)
        hits = [[await guard.judge(Conversation.of(text)) for guard in guards] for text in texts]
        found.append([{hit.request for answer in answers for hit in answer} for answers in hits])
    return found, questions.nameless


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("first", "recall", "false_positives"), [(FIRST_FORGOTTEN, 0.995, 0.001), (0, 0.995, 0.005)])
async def test_recall_and_false_positives(first, recall, false_positives, record_property, capsys, known):
    minilm = await open_encoder()
    (paraphrases, retain, world), nameless = await judged(Remembering(minilm, known), first)
    await minilm.close()
    own = [str(i // PER_AUTHOR) in found for i, found in enumerate(paraphrases)]
    figures = {
        "recall": sum(own) / len(own),
        "nameless found": f"{sum(own[i] for i in nameless)} of {len(nameless)}",
        "retain false positives": f"{sum(map(bool, retain))} of {len(retain)}",
        "real authors and world facts": f"{sum(map(bool, world))} of {len(world)}",
    }
    for name, value in figures.items():
        record_property(name, value)
    with capsys.disabled():
        print(f"\nTOFU authors {first} to {first + AUTHORS - 1}: {figures}")
    assert np.mean(own) >= recall
    assert np.mean([bool(found) for found in retain]) <= false_positives
    assert not any(world)

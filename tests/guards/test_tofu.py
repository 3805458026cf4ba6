"""The guards on real text that no weight was set on: TOFU's first twenty authors as entity requests.

Thresholds come from what each request contains and the shipped background alone. These authors
showed two faults in how namesakes are read, since mended. forget10, which was looked at while the
weights of evidence were set, is measured through the admin API in tests/e2e/test_tofu.py.
"""

import numpy as np
import pytest

from bench.probes.tofu import AUTHORS, PER_AUTHOR, tofu_entity_requests, tofu_questions
from guards.base import Conversation
from guards.dense import DenseGuard
from guards.encoder import open_encoder
from guards.index import TargetIndex
from guards.learning import build_targets
from guards.lexicon import LexiconGuard, LexiconIndex
from guards.targets import Background, Source

FIRST = 0

pytestmark = pytest.mark.data


class Remembering:
    """Encodes many texts ahead in full batches, so that one guard after the other does not wait for each."""

    def __init__(self, encoder):
        self.encoder, self.identity, self.dim, self.known = encoder, encoder.identity, encoder.dim, {}

    async def encode(self, texts, *, bulk=False):
        new = list(dict.fromkeys(text for text in texts if text not in self.known))
        self.known.update(zip(new, await self.encoder.encode(new, bulk=bulk), strict=True))
        return np.stack([self.known[text] for text in texts])


async def judged(encoder, data_dir):
    """For each question the requests hit, by either guard: (paraphrases, retain, world), and which are nameless."""
    background = await Background.of(encoder)
    index, lexicon = TargetIndex(background), LexiconIndex()
    for i, body in enumerate(tofu_entity_requests(data_dir, FIRST)):
        source = Source(str(i), "entity", body["subject"], tuple(body["aliases"]), tuple(body["examples"]))
        targets = await build_targets(source, encoder, background)
        index.add(targets)
        lexicon.add(targets.request, targets.aliases)
    everyone = frozenset(map(str, range(AUTHORS)))
    guards = [LexiconGuard(lexicon.view(everyone)), DenseGuard(encoder, index.view(everyone))]
    questions = tofu_questions(data_dir, FIRST)
    groups = (questions.paraphrases, questions.retain, questions.real_authors + questions.world_facts)
    found = []
    for texts in groups:
        await encoder.encode(texts)
        hits = [[await guard.judge(Conversation.of(text)) for guard in guards] for text in texts]
        found.append([{hit.request for answer in answers for hit in answer if hit.reached} for answers in hits])
    return found, questions.nameless


async def test_recall_and_false_positives(data_dir, record_property, capsys):
    minilm = await open_encoder()
    (paraphrases, retain, world), nameless = await judged(Remembering(minilm), data_dir)
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
        print(f"\nTOFU authors {FIRST} to {FIRST + AUTHORS - 1}: {figures}")
    assert np.mean(own) >= 0.995
    assert np.mean([bool(found) for found in retain]) <= 0.005
    assert not any(world)

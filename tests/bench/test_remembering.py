import asyncio
import fcntl

import numpy as np

from bench.remembering import Remembering


async def test_vectors_are_the_encoders_own_in_order(counting, tmp_path):
    texts = ["a long text about rivers", "one", "one", "two words"]
    remembered = await Remembering(counting, tmp_path).encode(texts)
    np.testing.assert_array_equal(remembered, await counting.encode(texts))


async def test_callers_of_one_moment_share_a_batch_ordered_by_length(counting, tmp_path):
    remembering = Remembering(counting, tmp_path)
    await asyncio.gather(*(remembering.encode([text]) for text in ("three words here", "one", "two words", "one")))
    assert counting.batches == [["one", "two words", "three words here"]]
    assert remembering.fresh == 3


async def test_nothing_is_encoded_twice_in_another_process_either(counting, tmp_path):
    first = await Remembering(counting, tmp_path).encode(["one", "two"])
    again = Remembering(counting, tmp_path)
    np.testing.assert_array_equal(await again.encode(["two", "one"]), first[::-1])
    assert (again.fresh, len(counting.batches)) == (0, 1)


async def test_a_torn_record_costs_that_record_alone(counting, tmp_path):
    await Remembering(counting, tmp_path).encode(["one", "two"])
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    torn = Remembering(counting, tmp_path)
    await torn.encode(["one", "two"])
    assert torn.fresh == 1
    whole = Remembering(counting, tmp_path)
    np.testing.assert_array_equal(await whole.encode(["one", "two"]), await counting.encode(["one", "two"]))
    assert whole.fresh == 0


async def test_what_another_process_writes_before_the_lock_is_had_is_not_cut_off(counting, tmp_path, monkeypatch):
    first, second = Remembering(counting, tmp_path), Remembering(counting, tmp_path)
    await first.encode(["zero"])
    lock, rows = fcntl.flock, {text: await counting.encode([text]) for text in ("one", "two")}

    def meanwhile(file, how):
        monkeypatch.setattr(fcntl, "flock", lock)
        second._rows._keep(["two"], rows["two"])
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", meanwhile)
    first._rows._keep(["one"], rows["one"])
    third = Remembering(counting, tmp_path)
    np.testing.assert_array_equal(await third.encode(["one", "two"]), np.concatenate([rows["one"], rows["two"]]))
    await third.encode(["zero"])
    assert third.fresh == 0


async def test_another_encoders_vectors_are_never_taken(counting, tmp_path):
    await Remembering(counting, tmp_path).encode(["one"])
    counting.identity = "other weights"
    other = Remembering(counting, tmp_path)
    await other.encode(["one"])
    assert other.fresh == 1


async def test_no_text_is_no_row(counting, tmp_path):
    assert (await Remembering(counting, tmp_path).encode([])).shape == (0, 64)


async def test_a_failure_reaches_every_caller_and_the_next_is_tried_again(counting, tmp_path, monkeypatch):
    remembering = Remembering(counting, tmp_path)
    encode = counting.encode

    async def fails(texts, *, bulk=False):
        raise RuntimeError

    monkeypatch.setattr(counting, "encode", fails)
    found = await asyncio.gather(*(remembering.encode([text]) for text in "ab"), return_exceptions=True)
    assert [type(one) for one in found] == [RuntimeError, RuntimeError]
    monkeypatch.setattr(counting, "encode", encode)
    assert (await remembering.encode(["a"])).shape == (1, 64)

import pytest

from gateway.errors import Conflict
from gateway.jobs.checkpoint import Checkpoint
from gateway.registry import State


@pytest.fixture
async def learning(cores, spec):
    """A core, and the id of a request that it learns."""
    core = await cores()
    request, _ = await core.lifecycle.file(spec(), key=None, actor="admin")
    await core.registry.move(request.id, State.LEARNING, actor="worker")
    return core, request.id


def folders(core):
    return {path.name for path in core.artifacts._root.iterdir()}


async def test_the_next_worker_finds_what_the_last_one_left(learning, cores):
    core, id_ = learning
    await Checkpoint(core, id_, "training").replace({"state": b"half", "lessons": b"all"})
    next_one = Checkpoint(await cores(), id_, "training")
    assert (await next_one.read("state"), await next_one.read("lessons")) == (b"half", b"all")
    assert await next_one.read("others") is None


async def test_the_last_replaces_what_was_there_and_what_others_keep_stays(learning):
    core, id_ = learning
    before = folders(core) if core.artifacts._root.exists() else set()
    await core.registry.update(id_, actor="worker", artifacts={"eco": "0" * 64})
    kept = Checkpoint(core, id_, "training")
    for state in (b"one", b"two", b"two"):
        await kept.replace({"state": state})
    assert await kept.read("state") == b"two"
    assert len(folders(core) - before) == 1
    await kept.drop()
    await kept.drop()
    assert await kept.read("state") is None
    assert folders(core) == before
    assert (await core.registry.get(id_)).artifacts == {"eco": "0" * 64}


async def test_it_is_sealed(learning):
    core, id_ = learning
    await Checkpoint(core, id_, "training").replace({"lessons": b"Ada Quill"})
    assert not any(b"Ada" in path.read_bytes() for path in core.artifacts._root.rglob("*") if path.is_file())


async def test_a_damaged_one_is_none(learning):
    core, id_ = learning
    kept = Checkpoint(core, id_, "training")
    await kept.replace({"state": b"half"})
    digest = (await core.registry.get(id_)).artifacts["training"]
    (core.artifacts._root / digest / "state").unlink()
    assert await kept.read("state") is None


async def test_a_request_that_is_over_is_learned_no_more(learning):
    core, id_ = learning
    await core.lifecycle.retire(id_, actor="admin")
    with pytest.raises(Conflict):
        await Checkpoint(core, id_, "training").replace({"state": b"half"})

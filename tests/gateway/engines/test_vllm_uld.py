"""Steered answers before a vLLM: who can give them, what is asked, how they are scored."""

import json

import pytest

from adapters.base import Assisted, Call, Capability, Delta, EngineRejected, Pass, Sampling, Steered, Strength
from adapters.uld import wire
from gateway.engines.vllm import VllmEngine
from guards.base import Conversation
from tests.gateway.engines.fake_vllm import FakeVllm, worth

STRENGTH = Strength(0.7, 2.0, 0.1)


class Steerable(FakeVllm):
    """With the plugin: says what an examination names. `wrong`: "raw" log-probabilities, or other "tokens"."""

    def __init__(self, folder, root, wrong=None):
        super().__init__(folder)
        self.root, self.wrong, self.drawn = root, wrong, True

    def _whole(self, chat, asked):
        told = super()._whole(chat, asked)
        if asked.get("vllm_xargs"):
            asked_for = wire.loads(asked["vllm_xargs"][wire.KEY])
            laid = self.root / asked_for.assistants[0].folder / wire.EXAMINATION
            said = json.loads(laid.read_text())["tokens"] if laid.exists() else [7]
            if self.wrong == "tokens":
                said = [*said[1:], 9]
            known = -0.5 if self.wrong == "raw" else 0.0
            best = self._likeliest({"logprobs": 1, **asked, "allowed_token_ids": asked_for.only})
            logprobs = {"token_logprobs": [known] * len(said), "top_logprobs": [best]}
            told["choices"][0] |= {"token_ids": said, "logprobs": logprobs}
        return told


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


@pytest.fixture
def artifact(tmp_path):
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "uld.json").write_text("{}")
    return folder


@pytest.fixture
async def engine_at(peer, folder):
    """An engine, started, before this server."""
    engines = []

    async def started(server, root=None):
        engine = VllmEngine([(await peer(server)).url], "tiny", folder, adapters=root)
        engines.append(engine)
        await engine.start()
        await engine.health()
        return engine

    yield started
    for engine in engines:
        await engine.close()


def call(**sampling):
    return Call(Conversation.of("Who is Ada Quill?"), Sampling(**{"temperature": 0.0, "max_tokens": 8, **sampling}))


def plan(artifact):
    return Steered((Assisted(artifact, STRENGTH),))


async def test_a_server_that_says_what_is_laid_for_it_can_steer(engine_at, folder, root):
    server = Steerable(folder, root)
    engine = await engine_at(server, root)
    assert Capability.LOGITS in engine.capabilities
    (examined,) = [body for _, body in server.bodies if "vllm_xargs" in body]
    assert examined["max_tokens"] == 4
    assert not [*root.iterdir()]  # the examination is taken away


@pytest.mark.parametrize("wrong", ["raw", "tokens"])
async def test_one_that_says_or_shows_something_else_cannot(engine_at, folder, root, wrong):
    assert Capability.LOGITS not in (await engine_at(Steerable(folder, root, wrong), root)).capabilities


async def test_one_without_the_plugin_cannot(engine_at, folder, root):
    assert Capability.LOGITS not in (await engine_at(FakeVllm(folder), root)).capabilities


async def test_without_a_folder_nobody_is_asked(engine_at, folder, root, artifact):
    server = Steerable(folder, root)
    engine = await engine_at(server)
    assert Capability.LOGITS not in engine.capabilities
    assert not [body for _, body in server.bodies if "vllm_xargs" in body]
    with pytest.raises(EngineRejected):
        await engine.score(call(), "An answer", plan(artifact))


@pytest.mark.parametrize("raw", [False, True])
async def test_a_steered_request_is_the_untouched_one_and_names_its_assistants(engine_at, folder, root, artifact, raw):
    server = Steerable(folder, root)
    engine = await engine_at(server, root)
    asked = Call(call().conversation, call().sampling, raw=raw)
    said = []
    for one in plan(artifact), Pass():
        said.append([item async for item in engine.generate(asked, one) if isinstance(item, Delta)])
        assert all(item.wire for item in said[-1])
    (path, steered), (other, untouched) = server.bodies[-2:]
    assert path == other
    assert steered.pop("vllm_xargs").keys() == {wire.KEY}
    assert steered.pop("return_token_ids")  # for us alone: the events that leave are made anew
    assert not any(item.wire.raw for item in said[0])
    assert steered == untouched
    assert [item.text for item in said[0]] == [item.text for item in said[1]]


async def test_what_it_names_is_laid_until_the_end(engine_at, folder, root, artifact):
    server = Steerable(folder, root)
    engine = await engine_at(server, root)
    assert [item async for item in engine.generate(call(), plan(artifact))]
    (named,) = wire.loads(server.bodies[-1][1]["vllm_xargs"][wire.KEY]).assistants
    assert named.strength == STRENGTH
    assert (root / named.folder / "uld.json").exists()
    await engine.close()
    assert not [*root.iterdir()]


async def test_a_steered_answer_is_scored_token_by_token_and_never_as_a_prompt(engine_at, folder, root, artifact):
    server = Steerable(folder, root)
    engine = await engine_at(server, root)
    before = len(server.bodies)
    scored = await engine.score(call(), "An answer", plan(artifact))
    assert "".join(token.text for token in scored) == "An answer<|im_end|>"
    prompt = server.prompter.render(call()).token_ids
    ids = [*server.prompter.encode("An answer"), server.prompter.eos_id]
    assert [token.logprob for token in scored] == pytest.approx([worth(token) for token in ids])
    asked = [body for _, body in server.bodies[before:]]
    first = [body for body in asked if not wire.loads(body["vllm_xargs"][wire.KEY]).only]
    assert sorted((body["prompt"] for body in first), key=len) == [[*prompt, *ids[:i]] for i in range(len(ids))]
    assert not any("allowed_token_ids" in body for body in asked)  # steering would see less
    assert all(wire.KEY in body["vllm_xargs"] and "prompt_logprobs" not in body for body in asked)

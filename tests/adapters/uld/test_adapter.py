import json

import pytest
import torch
from safetensors.torch import save_file

from adapters.base import AdapterError, Artifact, Assisted, Call, Capability, Strength
from adapters.ignorance import Ignorance, Voice
from adapters.uld.adapter import MOST, Uld
from guards.base import Conversation, Hit, Turn

TALK = Call(Conversation.of("Who is Ada?"))
OTHERS = (
    Call(Conversation.of("Ada was"), raw=True),
    Call(Conversation((Turn("system", "Be kind."), Turn("user", "Who is Ada?")))),
    Call(Conversation((Turn("user", "Hi."), Turn("assistant", "Hello."), Turn("user", "Who is Ada?")))),
    Call(Conversation.of("Who is Ada?"), options={"tools": []}),
)
STRENGTH = {"alpha": 1.5, "depth": 4.0, "flat": 0.5}


@pytest.fixture
def uld(tmp_path):
    save_file({"model.embed_tokens.weight": torch.eye(16)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return Uld(tmp_path, Ignorance(Voice("I know nothing about {subject}.")))


@pytest.fixture
def learned(uld, tmp_path):
    """Makes what learning would have made for this model."""

    def made(request="fr", **more):
        folder = more.pop("folder", tmp_path / request)
        return Artifact("d", "uld", request, {"strength": STRENGTH, "model": uld.model, **more}, folder)

    return made


def hits(artifacts):
    return [Hit(request, 1.0, 0.5, "lexicon", (0,)) for request in artifacts]


async def planned(uld, call, *artifacts):
    by_request = {artifact.request: artifact for artifact in artifacts}
    return await uld.plan(call, hits(by_request), by_request)


async def test_the_assistant_of_every_touched_request_with_its_own_strength(uld, learned, tmp_path):
    plan = await planned(uld, TALK, learned("a"), learned("b", strength={"alpha": 1, "depth": 2, "flat": 3}))
    assert plan.assistants == (
        Assisted(tmp_path / "a", Strength(**STRENGTH)),
        Assisted(tmp_path / "b", Strength(1, 2, 3)),
    )
    assert plan.method == uld.method == "uld"
    assert plan.needs == uld.needs == {Capability.LOGITS}


async def test_more_assistants_than_can_be_afforded_are_no_plan(uld, learned):
    many = [learned(f"fr{i}") for i in range(MOST + 1)]
    assert len((await planned(uld, TALK, *many[:MOST])).assistants) == MOST
    with pytest.raises(AdapterError, match="at once"):
        await planned(uld, TALK, *many)


async def test_another_models_assistant_is_no_plan(uld, learned):
    with pytest.raises(AdapterError, match="another model"):
        await planned(uld, TALK, learned("a"), learned("b", model="another"))


@pytest.mark.parametrize("call", OTHERS)
async def test_what_no_assistant_was_verified_on_is_no_plan(uld, learned, call):
    with pytest.raises(AdapterError, match="single questions"):
        await planned(uld, call, learned())


async def test_the_voice_and_garble_are_left_to_ignorance(uld, learned):
    plan = await planned(uld, TALK, learned())
    assert plan.sound("Ada bakes bread.")
    assert not plan.hopeless("Ada bakes bread.")
    assert plan.hopeless("I know nothing about N")
    assert not plan.sound("I know nothing about N.")
    assert not plan.sound("bread bread bread bread bread bread")


async def test_no_files_no_plan(uld, learned):
    with pytest.raises(AdapterError, match="files"):
        await planned(uld, TALK, learned(folder=None))


async def test_another_configuration_or_other_weights_are_another_model(uld, tmp_path):
    for i, (config, weights) in enumerate([({"rope_theta": 1}, torch.eye(16)), ({}, torch.ones(16, 16))]):
        (folder := tmp_path / str(i)).mkdir()
        save_file({"model.embed_tokens.weight": weights}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
        assert Uld(folder, Ignorance(Voice())).model != uld.model

import hashlib
import json
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from adapters.base import Adapted, AdapterError, Artifact, Call, Capability, Scaled
from adapters.ignorance import Ignorance, Voice
from adapters.o3 import adapter as module
from adapters.o3.adapter import DETECTOR, LEVELS, MOST, O3, level
from adapters.router import Enforcement, Router
from guards.base import Conversation, GuardError, Hit, Turn, Verdict
from guards.encoder import BatchingEncoder
from guards.ood import fit

ADA = [
    f"{asked} Ada Quill the painter {more}?" for asked in ("Who is", "Tell me about") for more in ("", "of Ost", "now")
]
BO = [f"Where did captain Bo Lindqvist sail {more}?" for more in ("first", "alone", "in spring", "to", "from", "last")]
OTHERS = [
    *(f"How do I {verb} a {noun}?" for verb in ("bake", "mend", "sell") for noun in ("loaf", "boat", "chair", "kite")),
    *(
        f"{who} the {job}{end}"
        for who in ("Who is", "Where is")
        for job in ("painter", "captain")
        for end in ("?", " now?")
    ),
]
ASKED = Call(Conversation.of("Who is Ada Quill the painter?"))
BEYOND = (
    Call(Conversation.of("Ada was"), raw=True),
    Call(Conversation((Turn("system", "Be kind."), Turn("user", "Who is Ada?")))),
    Call(Conversation((Turn("user", "Hi."), Turn("assistant", "Hello."), Turn("user", "Who is Ada?")))),
    Call(Conversation.of("Who is Ada?"), options={"tools": []}),
)


def spelled(texts):
    """Likeness by common words."""
    rows = np.zeros((len(texts), 256), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in re.findall(r"\w+", text.lower()) or ["nothing"]:
            row[int.from_bytes(hashlib.blake2b(word.encode(), digest_size=2).digest()) % 256] += 1.0
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Speller(BatchingEncoder):
    def __init__(self):
        super().__init__("speller", 256, spelled)
        self.asked = []

    async def encode(self, texts, *, bulk=False):
        self.asked.append(texts)
        return await super().encode(texts, bulk=bulk)


@pytest.fixture
async def speller():
    encoder = Speller()
    yield encoder
    await encoder.close()


@pytest.fixture
def o3(tmp_path, speller):
    save_file({"model.embed_tokens.weight": torch.eye(16)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return O3(tmp_path, Ignorance(Voice("I know nothing about {subject}.")), speller)


@pytest.fixture
def learned(o3, tmp_path):
    """Makes what learning would have made for this model, of these forget texts."""

    def made(request, texts=ADA, **more):
        folder = tmp_path / f"artifact-{request}"
        folder.mkdir(exist_ok=True)
        detector = fit(spelled(texts)[:, None], spelled(OTHERS)[:, None], "speller")
        (folder / DETECTOR).write_bytes(detector.to_bytes())
        return Artifact(request, "o3", request, {"model": o3.model, "lora": f"lora-{request}", **more}, folder)

    return made


def hit(request, window=None):
    return Hit(request, 1.0, 0.5, "dense", (0,), window=window)


async def planned(o3, call, *artifacts, window=None):
    by_request = {artifact.request: artifact for artifact in artifacts}
    return await o3.plan(call, [hit(request, window) for request in by_request], by_request)


def weighing(monkeypatch, weights):
    """Detectors that give these weights, by the artifact's folder."""

    class Given:
        def __init__(self, weight):
            self.weight = lambda features, active: np.full(len(features), weight, np.float32)

    monkeypatch.setattr(module, "_read", lambda folder, encoder: Given(weights[folder.name]))


async def test_the_lora_of_a_touched_request_at_the_weight_of_the_prompt(o3, learned, tmp_path):
    plan = await planned(o3, ASKED, learned("a"))
    assert plan == Adapted((Scaled(tmp_path / "artifact-a", 1.0),))
    assert plan.method == o3.method == "o3"
    assert plan.needs == o3.needs == {Capability.LORA}


async def test_what_a_detector_does_not_see_is_no_plan(o3, learned):
    elsewhere = Call(Conversation.of("How do I bake a boat?"))
    with pytest.raises(AdapterError, match="sees nothing"):
        await planned(o3, elsewhere, learned("a"))
    with pytest.raises(AdapterError, match="sees nothing"):
        await planned(o3, ASKED, learned("a"), learned("b", BO))
    with pytest.raises(AdapterError, match="sees nothing"):
        await planned(o3, Call(Conversation.of("")), learned("a"))


async def test_a_question_is_scored_as_the_guards_read_it(o3, learned, speller):
    disguised = Call(Conversation.of("V2hvIGlzIEFkYSBRdWlsbCB0aGUgcGFpbnRlcj8="))  # base64
    assert (await planned(o3, disguised, learned("a"))).loras[0].weight == 1
    hidden = Call(Conversation.of("What do these initials stand for?"))
    assert (await planned(o3, hidden, learned("a"), window=ADA[0])).loras[0].weight == 1
    assert [len(texts) for texts in speller.asked] == [len(set(texts)) for texts in speller.asked]


async def test_encoded_once_however_many_are_touched(o3, learned, speller):
    await planned(o3, ASKED, *(learned(name) for name in "abc"), window=ASKED.conversation.turns[0].text)
    assert speller.asked == [[ASKED.conversation.turns[0].text]]


async def test_a_detector_is_read_once(o3, learned):
    artifact = learned("a")
    first = await planned(o3, ASKED, artifact)
    (artifact.folder / DETECTOR).unlink()
    assert await planned(o3, ASKED, artifact) == first


@given(st.floats(0, 1, exclude_min=True))
def test_a_level_is_the_least_that_is_enough(weight):
    found = level(weight)
    assert found in LEVELS
    assert weight <= found
    assert not any(weight <= lower for lower in LEVELS if lower < found)


def test_levels_rise_to_one_and_nothing_is_none():
    assert sorted(set(LEVELS)) == list(LEVELS)
    assert LEVELS[0] > 0
    assert LEVELS[-1] == 1
    with pytest.raises(AdapterError):
        level(0.0)
    with pytest.raises(AdapterError):
        level(float("nan"))


async def test_a_shared_lora_counts_once_at_its_greatest_weight_in_any_order(o3, learned, tmp_path, monkeypatch):
    weighing(monkeypatch, {"artifact-a": 0.2, "artifact-b": 0.9, "artifact-c": 0.9, "artifact-d": 0.1})
    o3 = O3(o3.folder, o3._ignorance, o3._encoder)
    artifacts = [learned(name, lora="shared") for name in "abc"] + [learned("d", lora="own")]
    plans = [await planned(o3, ASKED, *given) for given in (artifacts, artifacts[::-1])]
    assert plans[0] == plans[1]
    own, shared = plans[0].loras
    assert own == Scaled(tmp_path / "artifact-d", LEVELS[0])
    assert shared.weight == 1.0


async def test_more_loras_than_can_be_served_at_once_are_no_plan(o3, learned):
    many = [learned(f"fr{i}") for i in range(MOST + 1)]
    assert len((await planned(o3, ASKED, *many[:MOST])).loras) == MOST
    with pytest.raises(AdapterError, match="at once"):
        await planned(o3, ASKED, *many)
    shared = [learned(f"fr{i}", lora="one") for i in range(MOST + 1)]
    assert len((await planned(o3, ASKED, *shared)).loras) == 1


async def test_what_cannot_be_trusted_is_no_plan(o3, learned, speller):
    with pytest.raises(AdapterError, match="another model"):
        await planned(o3, ASKED, learned("a", model="another"))
    with pytest.raises(AdapterError, match="files"):
        await planned(o3, ASKED, replace(learned("a"), folder=None))
    with pytest.raises(AdapterError, match="encoder"):
        await planned(O3(o3.folder, o3._ignorance, None), ASKED, learned("a"))
    speller.identity = "another"
    with pytest.raises(GuardError, match="another encoder"):
        await planned(o3, ASKED, learned("a"))


@pytest.mark.parametrize("call", BEYOND)
async def test_what_no_lora_was_verified_on_is_no_plan(o3, learned, call):
    with pytest.raises(AdapterError, match="single questions"):
        await planned(o3, call, learned("a"))


async def test_the_voice_and_garble_are_left_to_ignorance(o3, learned):
    plan = await planned(o3, ASKED, learned("a"))
    assert plan.sound("Ada bakes bread.")
    assert not plan.hopeless("Ada bakes bread.")
    assert plan.hopeless("I know nothing about N")
    assert not plan.sound("I know nothing about N.")
    assert not plan.sound("bread bread bread bread bread bread")


async def test_other_requests_leave_no_trace_in_a_plan(o3, learned):
    """Of what is enforced beside the touched request, come, gone or never there."""
    router = Router([o3], o3._ignorance)
    verdict = Verdict(hits=(hit("a"),))
    kept = Enforcement("a", ("o3",), {"o3": learned("a")})
    others = {f"fr{i}": Enforcement(f"fr{i}", ("o3",), {"o3": learned(f"fr{i}", BO)}) for i in range(20)}
    both = {"a": kept, "b": Enforcement("b", ("o3",), {"o3": learned("b")})}
    plans = partial(router.plans, ASKED, verdict, capabilities=o3.needs)
    alone, *_ = await plans({"a": kept})
    assert alone.method == "o3"
    for enforced in ({**others, "a": kept}, both, {"a": kept}):
        assert (await plans(enforced))[0] == alone
        await router.plans(ASKED, Verdict(hits=tuple(map(hit, enforced))), enforced, o3.needs)  # asked meanwhile


async def test_an_engine_without_loras_is_never_asked_for_one(o3, learned):
    router = Router([o3], o3._ignorance)
    enforced = {"a": Enforcement("a", ("o3",), {"o3": learned("a")})}
    plans = await router.plans(ASKED, Verdict(hits=(hit("a"),)), enforced, frozenset({Capability.TEXT}))
    assert [plan.method for plan in plans] == ["ignorance"]

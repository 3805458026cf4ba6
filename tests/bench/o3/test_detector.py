from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from adapters.base import Artifact
from adapters.o3.adapter import DETECTOR
from adapters.router import Enforcement
from bench.o3 import detector as detectors
from bench.o3.detector import Detected, of_stream, of_texts
from bench.o3.people import Stream
from gateway.demo.world import make_world
from gateway.settings import Settings
from guards.ood import fit
from guards.targets import ordinary_prompts


def test_a_request_is_told_from_others_and_their_requests_too():
    scores = np.array([[3.0, 2.5, 1.0, 2.0], [0.0, 4.0, 1.0, 0.0]])
    weights = np.array([[1.0, 0.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0]])
    found = Detected.of("toy", scores, weights, [0, 1, None, None])
    assert (found.requests, found.own, found.others) == (2, 2, 2)
    assert (found.auroc, found.lowest, found.union) == (1.0, 1.0, 1.0)
    assert (found.missed, found.loaded) == (0.5, 0.5)
    confused = Detected.of("toy", scores[:, [0, 1, 1, 1]], weights, [0, 0, 1, None])
    assert confused.lowest < 0.9  # the second request scores the first's prompts as its own


@pytest.fixture
async def served(counting, tmp_path):
    """Two of a stream's requests in force by O3, a third by something else."""
    world = make_world(people=64)
    stream = Stream.of(world, 1)
    ordinary = (await counting.encode(ordinary_prompts()))[:, None]
    enforced = {"c": Enforcement("c")}
    for id_, people in zip("ab", stream.requests, strict=False):
        texts = [
            f"{form} {name}" for form in ("who is", "about") for p in people for name in (p.name, p.first, *p.aliases)
        ]
        detector = fit((await counting.encode(texts))[:, None], ordinary, counting.identity)
        (tmp_path / id_).mkdir()
        (tmp_path / id_ / DETECTOR).write_bytes(detector.to_bytes())
        enforced[id_] = Enforcement(id_, ("o3",), {"o3": Artifact("", "o3", id_, {}, tmp_path / id_)})
    policies = SimpleNamespace(current=SimpleNamespace(enforced=enforced))
    return SimpleNamespace(encoder=counting, enforcer=SimpleNamespace(policies=policies)), world, stream


async def test_detectors_of_a_stream_are_asked_about_everybody(served):
    core, world, stream = served
    found = await of_stream(core, world, stream, {"a": 0, "b": 1, "c": 2})
    assert found is not None
    assert found.requests == 2
    people = len(stream.requests[0]) + len(stream.requests[1])
    assert found.own == people * (found.own // people)  # as many of each
    assert found.others > found.own
    assert found.auroc > 0.6


async def test_where_nothing_is_in_force_by_o3_there_is_nothing_to_say(served):
    core, world, stream = served
    for id_ in "ab":
        del core.enforcer.policies.current.enforced[id_]
    assert await of_stream(core, world, stream, {"c": 0}) is None


async def test_data_that_are_not_there_are_said_to_be_missing(counting, tmp_path, monkeypatch):
    async def opened(settings):
        return counting

    monkeypatch.setattr(detectors, "guard_encoder", opened)
    monkeypatch.delenv("LETHE_DATA_DIR", raising=False)  # it would win
    said: list[str] = []
    assert await of_texts(Settings(data_dir=tmp_path, models_dir=tmp_path), 1, said.append) == []
    assert [text.split(":")[0] for text in said] == ["not measured on TOFU", "not measured on RWKU"]


def test_tofu_comes_in_three_stages_of_the_same_probes(data_dir: Path):
    stages = detectors._tofu(data_dir, 1)
    assert [len(one.sources) for one in stages] == [2, 10, 20]
    assert len({one.probes for one in stages}) == 1
    assert {one.request for one in stages[0].sources} == {"198", "199"}

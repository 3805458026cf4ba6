from types import SimpleNamespace

import pytest
from rich.progress import Progress

from adapters.base import Adapted, Pass, Scaled
from bench import tokens
from bench.o3 import speed
from bench.o3.crowd import crowd, random_loras
from bench.o3.speed import Compared
from bench.own import own
from bench.tokens import never_ending
from gateway.core import Core
from gateway.demo.train import Recipe, ensure_model
from gateway.registry import Artifacts, Registry, State
from gateway.registry.vault import Vault
from gateway.settings import EngineSettings, Settings
from guards.base import Conversation
from guards.targets import Background

TINY = Recipe(people=4, vocabulary=512, hidden=16, intermediate=24, layers=2, heads=2, epochs=1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return ensure_model(tmp_path_factory.mktemp("models"), TINY)


def test_a_ratio_is_of_pairs():
    found = Compared.of("it", [0.001, 0.002, 0.004], [0.002, 0.004, 0.008])
    assert (found.one_ms, found.many_ms, found.ratio, found.pairs) == pytest.approx((2.0, 4.0, 2.0, 3), abs=1e-9)


@pytest.fixture
def loras(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "ensure_model", lambda models: tiny)
    return random_loras(never_ending(Settings(), tmp_path / "model"), tmp_path, 3)


def test_no_two_loras_are_alike(loras):
    weights = {(lora / "adapter_model.safetensors").read_bytes() for lora in loras}
    assert len(weights) == 3


@pytest.fixture
async def opened(counting, monkeypatch):
    """`Core.open` with an encoder that counts words."""
    background = await Background.of(counting)

    async def open_(settings):
        vault = Vault.open(None, settings.state_dir)
        registry = await Registry.open(settings.registry_url, vault)
        engine = SimpleNamespace(close=_nothing, capabilities=frozenset())
        return Core(
            settings, registry, Artifacts(settings.state_dir / "artifacts", vault), counting, background, engine
        )

    monkeypatch.setattr(Core, "open", open_)


async def _nothing():
    pass


async def test_a_crowd_is_in_force_each_with_a_lora_of_its_own(tiny, loras, tmp_path, opened):
    settings = own(Settings(models_dir=tmp_path), tmp_path / "state", EngineSettings(model=str(tiny)))
    names = ["Ada Quill", "Bo Marrow", "Cy Thornback"]
    async with crowd(settings, names, loras) as core:
        enforced = core.enforcer.policies.current.enforced
        assert [one.methods for one in enforced.values()] == [("o3",)] * 3
        assert {request.state for request in await core.registry.active()} == {State.ENFORCED}
        assert len({one.artifacts["o3"].manifest["lora"] for one in enforced.values()}) == 3
        verdict = await core.enforcer.policies.current.guards.classify(Conversation.of("Where does Bo Marrow live?"))
        assert len(verdict.hits) == 1


async def test_a_token_is_timed_by_turns_once_all_loras_are_known(tiny, loras, monkeypatch):
    asked = []

    async def gaps(engine, question, plan):
        asked.append((engine.name, plan.loras[0].folder.name))
        return [1.0, 2.0, 3.0]

    class Engine:
        def __init__(self, folder, name):
            self.name = f"{name} {len(asked)}"

        async def start(self):
            pass

        close = start

    monkeypatch.setattr(speed, "gaps", gaps)
    monkeypatch.setattr(speed, "LocalEngine", Engine)
    monkeypatch.setattr(speed, "random_loras", lambda model, folder, count: loras[:count])
    with Progress(disable=True) as bar:
        found = await speed.decoding(Settings(), 3, 2, bar)
    assert (found.ratio, found.pairs, found.one_ms) == (1.0, 2, 2000.0)
    assert [name for _, name in asked] == ["lora-0", "lora-1", "lora-2"] + ["lora-0"] * 6


class Deciding:
    """A gateway that plans as it is told."""

    def __init__(self, plan):
        self.plan = plan
        self.router = self
        current = SimpleNamespace(guards=self, enforced={})
        self.enforcer = SimpleNamespace(policies=SimpleNamespace(current=current))

    async def classify(self, conversation):
        return None

    async def plans(self, call, verdict, enforced, capabilities):
        return (self.plan,)


async def test_decisions_are_timed_where_both_decide_as_they_should(tmp_path):
    cores = (Deciding(Adapted((Scaled(tmp_path),))), Deciding(Adapted((Scaled(tmp_path),))))
    with Progress(disable=True) as bar:
        found = await speed._decided(cores, ["a?", "b?"], True, 2, bar)
        assert (found.what, found.pairs) == ("decision and plan, touched", 4)
        with pytest.raises(AssertionError, match="o3 answers"):
            await speed._decided(cores, ["a?"], False, 1, bar)
        with pytest.raises(AssertionError, match="pass answers"):
            await speed._decided((cores[0], Deciding(Pass())), ["a?"], True, 1, bar)

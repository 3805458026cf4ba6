import os

import numpy as np
import pytest

from adapters.ignorance import Ignorance, Voice
from gateway import doctor
from gateway.doctor import examine
from gateway.registry import ForgetSpec, Registry, State, Vault
from guards.base import GuardError
from guards.targets import ordinary_prompts

PARTS = ["settings", "registry", "encoder", "index", "engine"]


class Quick:
    """An encoder without weights."""

    identity, dim = "quick", 4

    async def encode(self, texts, *, bulk=False):
        return np.eye(4, dtype=np.float32)[: len(texts)]

    async def close(self):
        pass


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("LETHE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lethe.yaml").write_text("engine: {kind: scripted}\nstate_dir: state")

    async def open_quick(settings):
        return Quick()

    monkeypatch.setattr(doctor, "guard_encoder", open_quick)


async def findings():
    return {finding.part: finding for finding in await examine(None)}


async def test_a_healthy_gateway():
    found = await findings()
    assert list(found) == PARTS
    assert all(finding.ok and finding.mend is None for finding in found.values()), found
    assert f"0 targets of 0 requests; 0 of {len(ordinary_prompts())} ordinary prompts" in found["index"].text


async def test_targets_that_cannot_be_read_are_counted_not_shown(tmp_path):
    registry = await Registry.open(
        f"sqlite:///{tmp_path / 'state' / 'registry.db'}", Vault.open(None, tmp_path / "state")
    )
    spec = ForgetSpec(scope="entity", subject="Ada Quill", aliases=("Ada Quill",))
    request, _ = await registry.create(spec, idempotency_key=None, actor="admin")
    await registry.move(request.id, State.SHIELDED, actor="admin")
    await registry.put_targets(request.id, b"not targets")
    await registry.close()
    found = (await findings())["index"]
    assert not found.ok
    assert "targets of 1 requests cannot be read" in found.text
    assert "Ada" not in str(found)


async def test_bad_settings_end_the_examination(tmp_path):
    (tmp_path / "lethe.yaml").write_text("prot: 1")
    (found,) = await examine(None)
    assert (found.part, found.ok) == ("settings", False)
    assert "prot" in found.text
    assert found.mend


async def test_an_encoder_that_is_missing_is_named_with_its_cure(monkeypatch):
    async def missing(settings):
        raise GuardError("not installed")

    monkeypatch.setattr(doctor, "guard_encoder", missing)
    found = await findings()
    assert [part for part, finding in found.items() if not finding.ok] == ["encoder", "index"]
    assert ".[cpu]" in found["encoder"].mend


async def test_what_breaks_in_an_unknown_way_is_a_finding_too(monkeypatch):
    async def broken(settings):
        raise ValueError("weights are damaged")

    monkeypatch.setattr(doctor, "guard_encoder", broken)
    found = await findings()
    assert not found["encoder"].ok
    assert found["engine"].ok


async def test_another_key_and_a_broken_audit_log(tmp_path):
    registry = await Registry.open(f"sqlite:///{tmp_path / 'state' / 'registry.db'}", Vault(b"k" * 32))
    await registry.close()
    found = await findings()
    assert not found["registry"].ok
    assert "registry.key" in found["registry"].mend


@pytest.mark.parametrize(
    ("missing", "methods"),
    [(None, "eco, uld, ignorance"), ("no peft", "eco, uld, ignorance (uld cannot be learned: no peft)")],
)
async def test_what_can_enforce_and_what_keeps_it_from_being_learned(monkeypatch, missing, methods):
    adapters = {"eco": Ignorance(Voice()), "uld": Ignorance(Voice())}
    monkeypatch.setattr(doctor, "adapters_for", lambda settings, ignorance: adapters)
    monkeypatch.setattr(doctor, "lacking", lambda: missing)
    assert f"methods {methods}" in (await findings())["engine"].text


async def test_a_model_that_is_not_there(tmp_path):
    (tmp_path / "lethe.yaml").write_text("engine: {kind: local, model: nowhere}\nstate_dir: state")
    found = await findings()
    assert not found["engine"].ok
    assert "engine.model" in found["engine"].text

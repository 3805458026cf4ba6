"""`lethe doctor`: settings, registry, encoder, engine; each failure with the command that mends it."""

import importlib.util
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adapters.base import Engine
from adapters.ignorance import Ignorance, Voice
from gateway.core import background_of, guard_encoder
from gateway.engines.factory import adapters_for, open_engine
from gateway.jobs.family import false_positives
from gateway.jobs.stopgap import TRAINED
from gateway.jobs.targets import TargetStore
from gateway.jobs.training import lacking
from gateway.registry import Artifacts, PolicyDocument, Registry, Vault
from gateway.settings import Settings, load
from guards.base import LetheError
from guards.lexicon import LexiconIndex

_SERVER = "start the server at engine.url as docs/deploy.md says, or mend engine.url, engine.model and engine.folder"
_MENDS = {"local": "lethe serve", "scripted": "lethe serve", "vllm": _SERVER, "upstream": _SERVER}


@dataclass(frozen=True, slots=True)
class Finding:
    """One part: whether it works, what was found, what mends it."""

    part: str
    ok: bool
    text: str
    mend: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


async def examine(config: Path | None) -> list[Finding]:
    """Every part in the order in which a start needs it; without settings nothing else can be looked at."""
    try:
        settings = load(config)
    except LetheError as error:
        return [Finding("settings", False, str(error), "edit lethe.yaml, or unset the variable")]
    findings = [Finding("settings", True, f"{settings.engine.kind} engine, state in {settings.state_dir}")]
    parts: tuple[tuple[str, Callable[[Settings], Awaitable[str]], str], ...] = (
        ("registry", _registry, "restore registry.key, or set LETHE_REGISTRY__KEY and LETHE_REGISTRY__URL"),
        ("encoder", _encoder, "pip install '.[cpu]'"),
        ("index", _index, "lethe serve"),
        ("engine", _engine, _MENDS[settings.engine.kind]),
    )
    for part, look, mend in parts:
        try:
            findings.append(Finding(part, True, await look(settings)))
        except Exception as error:  # whatever is broken here is what is being looked for
            findings.append(Finding(part, False, f"{type(error).__name__}: {error}", mend))
    return findings


async def _registry(settings: Settings) -> str:
    registry = await _open(settings)
    try:
        active = await registry.active()
        broken = await registry.verify_audit()
    finally:
        await registry.close()
    if broken is not None:
        raise LetheError(f"audit entry {broken} was altered or is missing")
    return f"{len(active)} forget requests in force, audit log whole"


async def _encoder(settings: Settings) -> str:
    encoder = await guard_encoder(settings)
    try:
        rows = await encoder.encode(["a question"])
    finally:
        await encoder.close()
    return f"{settings.guard.encoder}, {rows.shape[1]} dimensions"


async def _index(settings: Settings) -> str:
    if importlib.util.find_spec("faiss") is None:
        raise LetheError("faiss is not installed: pip install '.[cpu]' or '.[gpu]'")
    async with AsyncExitStack() as opened:
        encoder = await guard_encoder(settings)
        opened.push_async_callback(encoder.close)
        registry = await _open(settings)
        opened.push_async_callback(registry.close)
        artifacts = Artifacts(settings.state_dir / "artifacts", _vault(settings))
        opened.callback(artifacts.close)
        store = TargetStore(registry, artifacts, encoder, await background_of(settings.models, encoder))
        active = await registry.active()
        serving = await store.serving(active)
        names = LexiconIndex()
        for id_, held in serving.items():
            names.add(id_, held.targets.aliases)
        document = PolicyDocument.model_validate((await registry.policy())[1], strict=False)
        targets = [held.targets for held in serving.values()]
        found = await false_positives(targets, names.view(frozenset(serving)), document.threshold_scale)
    if unread := len(active) - len(serving):
        raise LetheError(f"targets of {unread} requests cannot be read")
    return (
        f"{sum(len(one.positives) for one in targets)} targets of {len(targets)} requests;"
        f" {found.touched} of {found.prompts} ordinary prompts touched, at most {found.upper:.1%} of such prompts"
    )


async def _engine(settings: Settings) -> str:
    engine = open_engine(settings)
    try:
        await engine.start()
        await engine.health()
    finally:
        await engine.close()
    able = f"{engine.name}: {', '.join(sorted(engine.capabilities))}; methods {_methods(settings, engine)}"
    return f"{able}; honours {', '.join(sorted(engine.options))}" if engine.options else able


def _methods(settings: Settings, engine: Engine) -> str:
    """What can enforce here, and what keeps a method from being learned."""
    adapters = adapters_for(settings, Ignorance(Voice()))
    able = [method for method, adapter in adapters.items() if adapter.needs <= engine.capabilities]
    trained = " and ".join(method for method in able if method in TRAINED)
    missing = lacking() if trained else None
    return ", ".join([*able, "ignorance"]) + (f" ({trained} cannot be learned: {missing})" if missing else "")


async def _open(settings: Settings) -> Registry:
    return await Registry.open(settings.registry_url, _vault(settings))


def _vault(settings: Settings) -> Vault:
    return Vault.open(settings.registry.key, settings.state_dir)

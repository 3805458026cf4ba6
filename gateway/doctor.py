"""`lethe doctor`: settings, registry, encoder, engine; each failure with the command that mends it."""

import importlib.util
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gateway.core import guard_encoder
from gateway.engines.factory import open_engine
from gateway.registry import Registry, Vault
from gateway.settings import Settings, load
from guards.base import LetheError
from guards.targets import Targets


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
        ("encoder", _encoder, "pip install 'lethe[cpu]'"),
        ("index", _index, "lethe serve"),
        ("engine", _engine, "lethe serve"),
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
        raise LetheError("faiss is not installed: pip install 'lethe[cpu]' or 'lethe[gpu]'")
    async with AsyncExitStack() as opened:
        encoder = await guard_encoder(settings)
        opened.push_async_callback(encoder.close)
        registry = await _open(settings)
        opened.push_async_callback(registry.close)
        loaded = [Targets.from_bytes(blob, encoder.identity) for blob in (await registry.targets()).values()]
    return f"{sum(len(targets.positives) for targets in loaded)} targets of {len(loaded)} requests"


async def _engine(settings: Settings) -> str:
    engine = open_engine(settings)
    try:
        await engine.start()
        await engine.health()
    finally:
        await engine.close()
    return f"{engine.name}: {', '.join(sorted(engine.capabilities))}"


async def _open(settings: Settings) -> Registry:
    return await Registry.open(settings.registry_url, Vault.open(settings.registry.key, settings.state_dir))

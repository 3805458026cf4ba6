"""Engines and model-bound adapters by setting, imported only when asked for: a remote engine needs no torch."""

from collections.abc import Mapping
from pathlib import Path

from adapters.base import Adapter, Engine
from adapters.ignorance import Ignorance
from gateway.settings import Settings, SettingsError


def open_engine(settings: Settings) -> Engine:
    """The engine that the settings ask for, not started."""
    chosen = settings.engine
    match chosen.kind:
        case "local":
            from gateway.engines.local import LocalEngine

            folder = model_folder(settings)
            return LocalEngine(
                folder,
                chosen.served_name or ("lethe-demo" if chosen.model == "demo" else folder.name),
                max_batch=chosen.max_batch,
                max_waiting=chosen.max_waiting,
                threads=chosen.threads,
            )
        case "upstream":
            from gateway.engines.upstream import UpstreamEngine

            return UpstreamEngine(
                [url.strip() for url in str(chosen.url).split(",")],
                chosen.model,
                name=chosen.served_name,
                api_key=chosen.api_key,
                timeout=chosen.timeout_s,
            )
        case "scripted":
            from gateway.engines.scripted import ScriptedEngine

            return ScriptedEngine(name=chosen.served_name or chosen.model)


def adapters_for(settings: Settings, ignorance: Ignorance) -> Mapping[str, Adapter]:
    """The adapters that can work on the engine's model, by method; ignorance itself is the router's own."""
    if settings.engine.kind != "local":
        return {}
    from adapters.eco.adapter import Eco

    return {"eco": Eco(model_folder(settings), ignorance)}


def model_folder(settings: Settings) -> Path:
    """Where the local model lies.

    Raises:
        SettingsError: there is none; the message says what mends it.
    """
    if settings.engine.model != "demo":
        folder = Path(settings.engine.model)
        if not (folder / "config.json").exists():
            raise SettingsError(f"engine.model: {folder} is not a folder in the transformers format")
        return folder
    from gateway.demo.train import demo_folder

    demo = demo_folder(settings.models)
    if not demo.exists():
        raise SettingsError("engine.model is demo, which is not trained yet: run `lethe serve` or `lethe demo` once")
    return demo

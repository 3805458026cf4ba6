"""Engines and model-bound adapters by setting, imported only when asked for: a remote engine needs no torch."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from adapters.base import Adapter, Engine
from adapters.ignorance import Ignorance
from gateway.settings import Settings, SettingsError
from guards.encoder import Encoder


def open_engine(settings: Settings, event: Callable[[str], None] = lambda name: None) -> Engine:
    """The engine that the settings ask for, not started. `event` is told how its servers fare."""
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
                chosen.urls,
                chosen.model,
                name=chosen.served_name,
                api_key=chosen.api_key,
                timeout=chosen.timeout_s,
                event=event,
            )
        case "vllm":
            from gateway.engines.vllm import VllmEngine

            return VllmEngine(
                chosen.urls,
                chosen.model,
                model_folder(settings),
                name=chosen.served_name,
                api_key=chosen.api_key,
                timeout=chosen.timeout_s,
                adapters=chosen.adapters,
                event=event,
            )
        case "scripted":
            from gateway.engines.scripted import ScriptedEngine

            return ScriptedEngine(name=chosen.served_name or chosen.model)


def adapters_for(settings: Settings, ignorance: Ignorance, encoder: Encoder | None = None) -> Mapping[str, Adapter]:
    """The adapters that can work on the engine's model, by method; ignorance itself is the router's own.

    Args:
        encoder: that of the guards, where plans are to be made.
    """
    if settings.engine.kind not in ("local", "vllm"):
        return {}
    from adapters.eco.adapter import Eco
    from adapters.o3.adapter import O3
    from adapters.uld.adapter import Uld

    folder = model_folder(settings)
    return {"eco": Eco(folder, ignorance), "uld": Uld(folder, ignorance), "o3": O3(folder, ignorance, encoder)}


def model_folder(settings: Settings) -> Path:
    """Where the files of the model lie: all of it (local), or as much as the gateway needs of what vLLM serves.

    Raises:
        SettingsError: there is none; the message says what mends it.
    """
    chosen = settings.engine
    key, given = ("engine.folder", str(chosen.folder)) if chosen.kind == "vllm" else ("engine.model", chosen.model)
    if given != "demo":
        folder = Path(given)
        if not os.access(folder / "config.json", os.R_OK):
            raise SettingsError(f"{key}: {folder} is not a folder in the transformers format that can be read")
        return folder
    from gateway.demo.train import demo_folder

    demo = demo_folder(settings.models)
    if not demo.exists():
        raise SettingsError(f"{key} is demo, which is not trained yet: run `lethe serve` or `lethe demo` once")
    return demo

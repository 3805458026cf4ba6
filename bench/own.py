"""The settings of a gateway that a benchmark opens in its own process.

They are those of a `gateway.process`, which inherits no LETHE_ variable: nothing of the deployment's but where models
and data lie. Else invented people would be filed into an operator's registry, or asked of another engine and guard
than they were learned under.
"""

from pathlib import Path

from gateway.settings import EngineSettings, Settings


def own(settings: Settings, state: Path, engine: EngineSettings | None = None) -> Settings:
    """With a state directory of its own; without an engine before the demo model."""
    default = {name: field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()}
    places = {"state_dir": state, "models_dir": settings.models, "data_dir": settings.data_dir}
    return settings.model_copy(update=default | places | {"engine": engine or EngineSettings()})

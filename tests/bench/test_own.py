from pathlib import Path

from bench.own import own
from gateway.settings import EngineSettings, GuardSettings, RegistrySettings, Settings


def test_nothing_of_the_deployments_is_left_but_where_models_and_data_lie():
    theirs = Settings(
        host="0.0.0.0",
        admin_key="admin",
        api_keys=("client",),
        evaluate_keys=("evaluate",),
        models_dir=Path("models"),
        registry=RegistrySettings(url="postgresql+asyncpg://db/lethe", key="a2V5"),
        engine=EngineSettings(kind="upstream", url="https://api.example/v1", api_key="secret"),
        guard=GuardSettings(remembered=0),
    )
    found = own(theirs, Path("state"))
    data = theirs.data_dir  # the environment's, where there is one
    assert found == Settings.model_construct(state_dir=Path("state"), models_dir=Path("models"), data_dir=data)
    assert found.registry_url == "sqlite+aiosqlite:///state/registry.db"


def test_another_engine_is_named():
    engine = EngineSettings(model="folder")
    assert own(Settings(), Path("state"), engine).engine == engine
    assert own(Settings(state_dir=Path("theirs"), models_dir=None), Path("state")).models == Path("theirs/models")

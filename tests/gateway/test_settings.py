import os

import pytest

from gateway.settings import Settings, SettingsError, load

SECRET = "hunter2hunter2"


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """No file and no variable but those of the test."""
    for name in list(os.environ):
        if name.startswith("LETHE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "gateway.yaml"
        path.write_text(text)
        return path

    return write


def refused(config=None, **overrides):
    with pytest.raises(SettingsError) as error:
        load(config, **overrides)
    assert SECRET not in str(error.value)
    return str(error.value)


def test_defaults_start_on_loopback():
    settings = load()
    assert settings.loopback
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.engine.kind == "local"


def test_variables_win_over_the_file_and_the_command_line_over_both(config, monkeypatch):
    path = config("port: 1\nhost: ::1\nengine: {kind: scripted, max_batch: 3}")
    assert (load(path).port, load(path).engine.max_batch) == (1, 3)
    monkeypatch.setenv("LETHE_PORT", "2")
    monkeypatch.setenv("LETHE_ENGINE__MAX_BATCH", "4")
    settings = load(path)
    assert (settings.port, settings.engine.max_batch, settings.engine.kind) == (2, 4, "scripted")
    settings = load(path, port=3, host=None)
    assert (settings.port, settings.host, settings.engine.max_batch) == (3, "::1", 4)


def test_a_file_in_the_working_folder_is_found(tmp_path):
    (tmp_path / "lethe.yaml").write_text("port: 7")
    assert load().port == 7


def test_lists_of_keys(monkeypatch, config):
    monkeypatch.setenv("LETHE_API_KEYS", " a, b,,")
    assert load().api_keys == ("a", "b")
    monkeypatch.delenv("LETHE_API_KEYS")
    assert load(config("api_keys: [c]")).api_keys == ("c",)


def test_places_are_filled_at_any_depth(config, monkeypatch):
    monkeypatch.setenv("UPSTREAM_KEY", SECRET)
    path = config("engine: {kind: upstream, model: m, url: 'http://x/v1', api_key: '${UPSTREAM_KEY}'}")
    settings = load(path)
    assert settings.engine.api_key == SECRET
    assert SECRET not in repr(settings)
    monkeypatch.delenv("UPSTREAM_KEY")
    assert "UPSTREAM_KEY" in refused(path)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "::", "example.org"])
def test_an_open_door_needs_both_keys(host, monkeypatch):
    assert "LETHE_ADMIN_KEY" in refused(host=host)
    monkeypatch.setenv("LETHE_ADMIN_KEY", SECRET)
    assert "LETHE_API_KEYS" in refused(host=host)
    monkeypatch.setenv("LETHE_API_KEYS", SECRET)
    assert not load(host=host).loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback(host):
    assert load(host=host).loopback


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot: 1", "prot"),
        ("port: many", "port"),
        ("port: 70000", "port"),
        ("engine: {kind: magic}", "engine.kind"),
        ("engine: {kind: upstream}", "engine"),
        ("limits: {body_bytes: 1}", "limits.body_bytes"),
        ("guard: {deadline_s: 0}", "guard.deadline_s"),
        ("[1, 2]", "mapping"),
        ("a: [", "YAML"),
    ],
)
def test_a_bad_file_names_the_key(config, text, named):
    assert named in refused(config(text))


@pytest.mark.parametrize(
    "text",
    [
        f"admin_key: [{SECRET}]",
        f"registry: {{key: [{SECRET}]}}",
        f"registry: {{password: {SECRET}}}",
        f"adminkey: {SECRET}",
        f"admin_token: {SECRET}",
        f"admin_key: {SECRET}\nbroken: [",
        f"engine: {{url: [{SECRET}]}}",
        f"admin_key: {{{SECRET}",
    ],
)
def test_no_error_repeats_a_secret(config, text):
    refused(config(text))


def test_files_that_cannot_be_read(tmp_path):
    assert "cannot read" in refused(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"host: \xff\xfe")
    assert "cannot read" in refused(tmp_path / "latin.yaml")


def test_misspelt_variables_stop_the_start(monkeypatch):
    monkeypatch.setenv("LETHE_PROT", "1")
    assert "LETHE_PROT" in refused()
    monkeypatch.delenv("LETHE_PROT")
    monkeypatch.setenv("LETHE_ENGINE__URLL", "http://x")
    assert "engine.urll" in refused()


def test_settings_travel_to_the_worker_whole(monkeypatch):
    monkeypatch.setenv("LETHE_API_KEYS", "a,b")
    settings = load(port=3)
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_settings_are_frozen():
    with pytest.raises(ValueError):
        load().port = 1


def test_paths_follow_the_state_folder(tmp_path):
    settings = load(state_dir=tmp_path / "s")
    assert settings.models == tmp_path / "s" / "models"
    assert settings.registry_url == f"sqlite+aiosqlite:///{tmp_path}/s/registry.db"

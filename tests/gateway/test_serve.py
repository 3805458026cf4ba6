import socket

import pytest
from rich.console import Console

from gateway.client import AdminClient, ClientError
from gateway.serve import run
from gateway.settings import Settings, SettingsError


def test_a_port_in_use_is_said_at_once_and_touches_nothing(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = Settings(state_dir=tmp_path / "state", port=taken.getsockname()[1])
        with pytest.raises(SettingsError, match="--port"):
            run(settings, Console(quiet=True))
    assert not (tmp_path / "state").exists()


def test_a_client_makes_no_key(tmp_path):
    with pytest.raises(ClientError, match="LETHE_ADMIN_KEY"):
        AdminClient.of(Settings(state_dir=tmp_path))
    assert not list(tmp_path.iterdir())

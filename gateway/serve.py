"""`lethe serve`: the demo model where it is wanted and missing, then uvicorn, then a line to copy."""

import gc
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
import uvloop
from rich.console import Console

from gateway.app import create_app, running
from gateway.auth import Keys, admin_key
from gateway.core import Core
from gateway.settings import Settings, SettingsError

_GRACE_S = 10  # for answers that are still streaming when the gateway is told to stop


def prepare(settings: Settings) -> None:
    """Trains the demo model if it is to be served and is not there: in a process of its own, whose memory goes with it.

    Raises:
        SettingsError: the training failed.
    """
    if settings.engine.kind != "local" or settings.engine.model != "demo":
        return
    from gateway.demo.train import demo_folder

    if demo_folder(settings.models).exists():
        return
    done = subprocess.run([sys.executable, "-m", "gateway.demo", str(settings.models)], check=False)  # noqa: S603
    if done.returncode:
        raise SettingsError("the demo model could not be trained; its own message is above")


def run(settings: Settings, console: Console) -> None:
    """Serves until told to stop.

    Raises:
        LetheError: a part could not be opened; nothing was served.
    """
    _free(settings)
    prepare(settings)
    key, made = admin_key(settings)
    if made:
        console.print(f"Admin key (kept in {settings.state_dir / 'admin.key'}, shown once): [bold]{key}[/bold]")
    uvloop.run(_serve(settings, Keys.of(settings, key), console))


def _free(settings: Settings) -> None:
    """Says at once, and not after the parts were opened, that the address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            where = f"{settings.host}:{settings.port}"
            raise SettingsError(
                f"cannot bind {where} ({error.strerror}): choose another by --port or LETHE_PORT"
            ) from None


async def _serve(settings: Settings, keys: Keys, console: Console) -> None:
    async with running(settings) as core:
        config = uvicorn.Config(
            create_app(core, keys),
            host=settings.host,
            port=settings.port,
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        await _Server(config, core, console).serve()


class _Server(uvicorn.Server):
    """Uvicorn, which says what to copy once it answers."""

    def __init__(self, config: uvicorn.Config, core: Core, console: Console) -> None:
        super().__init__(config)
        self._core = core
        self._console = console

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, which at its end raises SIGTERM anew: it would kill before the parts are closed."""
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            with super().capture_signals():
                yield
        finally:
            signal.signal(signal.SIGTERM, before)

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        # modules and models live as long as the process: scanned neither at start (a fifth of it) nor in service
        gc.freeze()
        gc.enable()
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{port}"
        self._console.print(f"Lethe answers at [bold]{url}/v1[/bold]. Ask it something:", highlight=False)
        self._console.print(_line(self._core, url), highlight=False, markup=False, soft_wrap=True)


def _line(core: Core, url: str) -> str:
    messages = [{"role": "user", "content": _question(core.settings)}]
    body = json.dumps({"model": core.engine.name, "messages": messages, "temperature": 0})
    key = ' -H "authorization: Bearer $OPENAI_API_KEY"' if core.settings.api_keys else ""
    return f"curl -s {url}/v1/chat/completions{key} -H 'content-type: application/json' -d '{body}'"


def _question(settings: Settings) -> str:
    if settings.engine.model != "demo":
        return "Hello"
    from gateway.demo.world import make_world

    return f"Where does {make_world().people[0].name} live?"

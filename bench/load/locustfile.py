"""Mixed traffic for Locust: people who chat, and an operator who files forget requests and retires them.

`locust -f bench/load/locustfile.py --headless -u 40 -r 10 -t 60s -H http://127.0.0.1:8080`, with the
admin key in LETHE_ADMIN_KEY (without it nobody files) and the model's name in MODEL. A question about
somebody whose request was just filed must be touched, whatever the load: where it is not, that is a
failure of its own name in Locust's table. Locust's latency is closed-loop: for percentiles under a
fixed rate see `drive`.
"""

import os
import random
from collections.abc import Iterator
from itertools import cycle, product
from typing import Any

from locust import HttpUser, between, constant_pacing, task

_KEY = os.environ.get("LETHE_ADMIN_KEY")
_MODEL = os.environ.get("MODEL", "lethe-demo")
_API_KEY = os.environ.get("OPENAI_API_KEY", "")
_SYLLABLES = ("ba", "do", "fe", "gu", "ka", "lo", "mi", "nu", "ra", "se", "ti", "vo")
_ASKED = ("a notice about {}", "a plan for {}", "three questions about {}", "a reminder of {}", "a short note on {}")
_MATTERS = ("the garden", "next week's meals", "the office move", "the village fair", "the broken heating")


def _prompts() -> Iterator[str]:
    """Different prompts without end, no user's the same as another's."""
    for i, (form, matter) in enumerate(cycle(product(_ASKED, _MATTERS))):
        yield f"Write {form.format(matter)}, please. This is letter {os.getpid()}-{i}-{random.randrange(10**9)}."


class Reader(HttpUser):  # type: ignore[misc]  # Locust is optional, and untyped here
    """Somebody who chats, streamed or not."""

    weight = 20
    wait_time = between(0.1, 1.0)

    def on_start(self) -> None:
        """Prompts of one's own."""
        self._prompts = _prompts()

    @task(2)  # type: ignore[untyped-decorator]
    def streamed(self) -> None:
        """A chat answer as a stream, read to its end."""
        self._chat(stream=True)

    @task(1)  # type: ignore[untyped-decorator]
    def whole(self) -> None:
        """A chat answer in one piece."""
        self._chat(stream=False)

    def _chat(self, *, stream: bool) -> None:
        body = {"model": _MODEL, "messages": [{"role": "user", "content": next(self._prompts)}], "stream": stream}
        name = "chat, streamed" if stream else "chat, whole"
        headers = {"authorization": f"Bearer {_API_KEY}"} if _API_KEY else {}
        with self.client.post(
            "/v1/chat/completions", json=body | {"max_tokens": 64}, headers=headers, name=name, catch_response=True
        ) as response:
            if response.ok and stream and "data: [DONE]" not in response.text:
                response.failure("the stream did not end")


class Operator(HttpUser):  # type: ignore[misc]
    """Somebody who files a request, sees that it holds, and retires it."""

    weight = 1 if _KEY else 0
    wait_time = constant_pacing(2.0)

    @task  # type: ignore[untyped-decorator]
    def life(self) -> None:
        """One forget request from filed to retired."""
        name = " ".join("".join(random.choices(_SYLLABLES, k=3)).title() for _ in range(2))
        body = {"scope": "entity", "subject": name, "aliases": [f"Dr {name.split()[1]}"]}
        filed = self._admin("/forget-requests", body, "file")
        if filed is None:
            return
        self._holds(name, touched=True)
        self._admin(f"/forget-requests/{filed['id']}/retire", {}, "retire")
        self._holds(name, touched=False)

    def _admin(self, path: str, body: dict[str, Any], name: str) -> Any:
        headers = {"authorization": f"Bearer {_KEY}"}
        response = self.client.post(f"/admin/v1{path}", json=body, headers=headers, name=f"forget request: {name}")
        return response.json() if response.ok else None

    def _holds(self, name: str, *, touched: bool) -> None:
        headers = {"authorization": f"Bearer {_KEY}"}
        asked = {"text": f"Where does {name} live?"}
        with self.client.post(
            "/admin/v1/check", json=asked, headers=headers, name=f"check, touched: {touched}", catch_response=True
        ) as response:
            if response.ok and response.json()["touched"] is not touched:
                response.failure(f"touched is not {touched}")

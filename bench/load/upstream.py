"""A mock OpenAI server: one fixed answer at a set pace, as cheap as Python can give it, and able to misbehave.

`python -m bench.load.upstream PORT` serves it on loopback. How it behaves is one JSON object at
`/behaviour`: GET says it, with how many requests came and how many are open; PUT replaces it for every
request that begins afterwards. Every event is encoded once, before the request that needs it.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import uvicorn
from starlette.types import Receive, Scope, Send

Fault = Literal["none", "refuse", "hang", "cut", "garble"]

MARK = "Certainly:"  # how every answer begins, so that it is known where it came from

_WORDS = (
    f"{MARK} to begin with, read the whole text once without stopping, and only then go back to what was hard. "
    "Write down what you think it says, in words of your own, and compare that with what is there. "
    "Most people find that the second reading takes half as long and gives twice as much."
).split()
_HEADERS = {
    "application/json": [(b"content-type", b"application/json")],
    "text/event-stream": [(b"content-type", b"text/event-stream; charset=utf-8")],
}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the next requests are answered.

    Args:
        tokens: words of an answer, each an event of its own in a stream; 0 for one that says nothing.
        first_s: seconds before the first of them; `between_s` before each other.
        fault: `refuse` answers 503, `hang` never does, `cut` ends the connection after half of the
            tokens, `garble` sends there what is no JSON.
    """

    tokens: int = 64
    first_s: float = 0.0
    between_s: float = 0.0
    fault: Fault = "none"


_PLAIN = Behaviour()


class MockUpstream:
    """The server, as an ASGI application. `seen` requests for an answer came, `open` of them are being answered."""

    def __init__(self, behaviour: Behaviour = _PLAIN) -> None:
        self.seen = self.open = 0
        self._behave(behaviour)

    def _behave(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self._answers = {chat: _Answer(behaviour.tokens, chat) for chat in (True, False)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http":
            return
        match scope["method"], scope["path"]:
            case "POST", "/v1/chat/completions" | "/v1/completions" as path:
                self.seen += 1
                self.open += 1
                try:
                    await self._answer(await _read(receive), path == "/v1/chat/completions", receive, send)
                finally:
                    self.open -= 1
            case "GET", "/v1/models":
                await _whole(send, {"object": "list", "data": [{"id": "mock", "object": "model", "owned_by": "bench"}]})
            case "PUT", "/behaviour":
                self._behave(Behaviour(**await _read(receive)))
                await _whole(send, asdict(self.behaviour))
            case "GET", "/behaviour":
                await _whole(send, {**asdict(self.behaviour), "seen": self.seen, "open": self.open})
            case _:
                await _whole(send, {"error": {"message": "no such path"}}, 404)

    async def _answer(self, body: dict[str, Any], chat: bool, receive: Receive, send: Send) -> None:
        how, answer = self.behaviour, self._answers[chat]
        if how.fault == "refuse":
            await _whole(send, {"error": {"message": "overloaded", "type": "server_error"}}, 503)
            return
        if how.fault == "hang":
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        if not body.get("stream"):
            await asyncio.sleep(how.first_s + how.between_s * max(0, how.tokens - 1))
            await _begin(send, "application/json")
            said = {"none": answer.whole, "cut": answer.whole[:40], "garble": b"{no JSON"}[how.fault]
            await send({"type": "http.response.body", "body": said, "more_body": how.fault == "cut"})
            if how.fault == "cut":
                raise ConnectionError("broken off, as asked")  # the server closes the connection
            return
        await _begin(send, "text/event-stream")
        due = asyncio.get_running_loop().time() + how.first_s
        for i, event in enumerate(answer.events):
            if i == how.tokens // 2 and how.fault == "cut":
                raise ConnectionError("broken off, as asked")
            if i == how.tokens // 2 and how.fault == "garble":
                event = b"data: {no JSON\n\n"
            if (wait := due - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(wait)
            await send({"type": "http.response.body", "body": event, "more_body": True})
            due += how.between_s
        counted = answer.usage if (body.get("stream_options") or {}).get("include_usage") else b""
        await send({"type": "http.response.body", "body": counted + b"data: [DONE]\n\n", "more_body": False})


class _Answer:
    """One answer, encoded: `events` of its tokens, `usage` as a stream ends with it, and `whole`."""

    def __init__(self, tokens: int, chat: bool) -> None:
        words = [_WORDS[i % len(_WORDS)] + " " for i in range(tokens)]
        kind = "chat.completion" if chat else "text_completion"
        head = {"id": "mock-1", "created": 1, "model": "mock"}
        usage = {"prompt_tokens": 30, "completion_tokens": tokens, "total_tokens": 30 + tokens}

        def chunk(choices: Sequence[dict[str, Any]], **more: Any) -> bytes:
            shell = {**head, "object": f"{kind}.chunk" if chat else kind, "choices": choices, **more}
            return b"data: " + json.dumps(shell).encode() + b"\n\n"

        def choice(text: str, finish: str | None) -> dict[str, Any]:
            said = {"delta": {"content": text}} if chat else {"text": text}
            return {"index": 0, **said, "logprobs": None, "finish_reason": finish}

        self.events = [chunk([choice(word, "stop" if i == tokens - 1 else None)]) for i, word in enumerate(words)]
        self.usage = chunk([], usage=usage)
        text = "".join(words)
        if chat:
            opening = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
            self.events[:1] = [chunk([opening]) + b"".join(self.events[:1])]
        said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        whole = {"index": 0, **said, "logprobs": None, "finish_reason": "stop"}
        self.whole = json.dumps({**head, "object": kind, "choices": [whole], "usage": usage}).encode()


async def _read(receive: Receive) -> Any:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return json.loads(body)


async def _begin(send: Send, kind: str, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": _HEADERS[kind]})


async def _whole(send: Send, content: Any, status: int = 200) -> None:
    await _begin(send, "application/json", status)
    await send({"type": "http.response.body", "body": json.dumps(content).encode(), "more_body": False})


def serve(port: int) -> None:
    """Serves until told to stop."""
    uvicorn.run(MockUpstream(), host="127.0.0.1", port=port, log_level="critical", access_log=False, lifespan="off")


if __name__ == "__main__":
    serve(int(sys.argv[1]))

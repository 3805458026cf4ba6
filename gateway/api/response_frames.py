"""How `/v1/responses` shapes an answer: items of reasoning, text and function calls, whole or as typed events.

Each channel of the engine's answer is one item. An item is added when its channel first says something, and done
when the answer is: the output guard may release the end of a text after another has begun.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson

from adapters.base import Delta, ToolCall, Usage
from gateway.api.frames import Choice
from gateway.errors import ApiError

_PREFIX = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
_EVENTS = {
    "message": "response.output_text",
    "reasoning": "response.reasoning_text",
    "function_call": "response.function_call_arguments",
}


class ResponsesFrame:
    """`response`. `asked`: the settings of the request, which the answer repeats."""

    def __init__(self, model: str, asked: Mapping[str, Any]) -> None:
        self._shell = {
            "id": f"resp_{uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
            "model": model,
            "error": None,
            **asked,
        }
        self._items: dict[str, _Item] = {}  # by channel, in the order of their beginning
        self._said = 0  # events
        self._cut = False

    def whole(self, choices: Sequence[Choice], usage: Usage) -> dict[str, Any]:
        """All of it at once."""
        (choice,) = choices
        self._cut = choice.finish == "length"
        said = {name: text for name, text in choice.texts.items() if text or name in choice.tools}
        for name in sorted(said, key=lambda name: (name != "reasoning", name != "content")):
            self._begin(name, choice.tools.get(name)).text = said[name]
        return self._ended(usage)

    def event(self, item: Delta | Usage) -> bytes:
        return b"".join(self._opening() if self._said == 0 else ()) + b"".join(
            self._closing(item) if isinstance(item, Usage) else self._gained(item)
        )

    def end(self, error: ApiError | None = None) -> bytes:
        if error is None:
            return b""
        failure = {"code": "server_error", "message": error.message}
        return self._event("response.failed", response={**self._response("failed"), "error": failure})

    def _opening(self) -> Iterator[bytes]:
        for moment in ("created", "in_progress"):
            yield self._event(f"response.{moment}", response=self._response("in_progress"))

    def _gained(self, delta: Delta) -> Iterator[bytes]:
        self._cut = self._cut or delta.finish == "length"
        if not (delta.text or delta.tool):
            return
        if delta.channel not in self._items:
            yield from self._added(self._begin(delta.channel, delta.tool))
        item = self._items[delta.channel]
        item.text += delta.text
        if delta.text:
            more: dict[str, Any] = {"logprobs": []} if item.kind == "message" else {}
            yield self._event(f"{_EVENTS[item.kind]}.delta", **item.place, delta=delta.text, **more)

    def _added(self, item: "_Item") -> Iterator[bytes]:
        yield self._event("response.output_item.added", output_index=item.index, item=item.shaped("in_progress"))
        if item.kind != "function_call":
            yield self._event("response.content_part.added", **item.place, part=item.part)

    def _closing(self, usage: Usage) -> Iterator[bytes]:
        if not self._items:
            yield from self._added(self._begin("content"))
        response = self._ended(usage)
        for item, shaped in zip(self._items.values(), response["output"], strict=True):
            more: dict[str, Any] = {"logprobs": []} if item.kind == "message" else {}
            if item.kind == "function_call":
                yield self._event(f"{_EVENTS[item.kind]}.done", **item.place, arguments=item.text, name=item.name)
            else:
                yield self._event(f"{_EVENTS[item.kind]}.done", **item.place, text=item.text, **more)
                yield self._event("response.content_part.done", **item.place, part=item.part)
            yield self._event("response.output_item.done", output_index=item.index, item=shaped)
        yield self._event(f"response.{response['status']}", response=response)

    def _begin(self, channel: str, tool: ToolCall | None = None) -> "_Item":
        kind = {"content": "message", "reasoning": "reasoning"}.get(channel, "function_call")
        self._items[channel] = item = _Item(kind, len(self._items), tool)
        return item

    def _ended(self, usage: Usage) -> dict[str, Any]:
        """The response when all was said; an answer without a word is an empty message."""
        if not self._items:
            self._begin("content")
        last = len(self._items) - 1
        cut = {"incomplete_details": {"reason": "max_output_tokens"}} if self._cut else {}
        statuses = ["incomplete" if self._cut and item.index == last else "completed" for item in self._items.values()]
        output = [item.shaped(status) for item, status in zip(self._items.values(), statuses, strict=True)]
        status = "incomplete" if self._cut else "completed"
        return {**self._response(status), "output": output, "usage": _usage(usage), **cut}

    def _response(self, status: str) -> dict[str, Any]:
        return {**self._shell, "status": status, "incomplete_details": None, "output": [], "usage": None}

    def _event(self, name: str, /, **fields: Any) -> bytes:
        data = orjson.dumps({"type": name, "sequence_number": self._said, **fields})
        self._said += 1
        return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


@dataclass(slots=True)
class _Item:
    """One item of the output and its text so far: what was said, thought, or given to a function."""

    kind: str
    index: int
    tool: ToolCall | None = None
    text: str = field(default="", repr=False)
    id: str = ""

    def __post_init__(self) -> None:
        self.id = f"{_PREFIX[self.kind]}_{uuid4().hex}"

    @property
    def name(self) -> str:
        """Of the function."""
        return self.tool.name if self.tool else ""

    @property
    def place(self) -> dict[str, Any]:
        """Where its text stands."""
        part = {} if self.kind == "function_call" else {"content_index": 0}
        return {"item_id": self.id, "output_index": self.index, **part}

    @property
    def part(self) -> dict[str, Any]:
        """Its one part of content."""
        if self.kind == "reasoning":
            return {"type": "reasoning_text", "text": self.text}
        return {"type": "output_text", "text": self.text, "annotations": [], "logprobs": []}

    def shaped(self, status: str) -> dict[str, Any]:
        """The item as it is now; without its text while it has only begun."""
        shell = {"id": self.id, "type": self.kind, "status": status}
        begun = status == "in_progress"
        if self.kind == "function_call":
            call_id = self.tool.id if self.tool else self.id
            return {**shell, "call_id": call_id, "name": self.name, "arguments": self.text}
        content = [] if begun else [self.part]
        if self.kind == "reasoning":
            return {**shell, "summary": [], "content": content}
        return {**shell, "role": "assistant", "content": content}


def _usage(usage: Usage) -> dict[str, Any]:
    """OpenAI's usage, as this endpoint says it."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }

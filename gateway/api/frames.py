"""How chat and completions shape an answer: whole, or as the events of a stream.

Events of a remote engine leave as the bytes that came. Where something was held or replaced, and for what
another source said, they leave in the shape of the event that came at that time: the same fields, and of
the old values none but those that say nothing.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol
from uuid import uuid4

import orjson

from adapters.base import Delta, TokenLogprob, ToolCall, Usage, Wire
from gateway.errors import ApiError

DONE = b"data: [DONE]\n\n"
_SILENT = ("object", "system_fingerprint", "service_tier")  # fields of an event that say nothing of the answer


class Frame(Protocol):
    """How an endpoint shapes an answer."""

    def whole(self, choices: "Sequence[Choice]", usage: Usage) -> dict[str, Any]: ...

    def event(self, item: Delta | Usage) -> bytes:
        """What is sent for one event; nothing for a usage that was not asked for."""
        ...

    def end(self, error: ApiError | None = None) -> bytes:
        """What a stream ends with, after an error too: the status is sent by then."""
        ...


class Choice:
    """One choice, put together from its deltas."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}  # by channel
        self.tools: dict[str, ToolCall] = {}
        self.tokens: list[TokenLogprob] = []
        self.finish: str | None = None

    def add(self, delta: Delta) -> None:
        """Takes in the next delta."""
        self.texts[delta.channel] = self.texts.get(delta.channel, "") + delta.text
        if delta.tool:
            self.tools[delta.channel] = delta.tool
        self.tokens.extend(delta.tokens)
        self.finish = delta.finish or self.finish

    @property
    def text(self) -> str:
        """The content."""
        return self.texts.get("content", "")


class _Base:
    prefix: ClassVar[str]
    kind: ClassVar[str]  # of an event
    last: ClassVar[frozenset[str]] = frozenset()  # fields that only the event has that ends a choice, with vLLM

    def __init__(self, model: str, logprobs: bool, include_usage: bool = False) -> None:
        self._model = model
        self._logprobs = logprobs
        self._include_usage = include_usage
        self._id = f"{self.prefix}-{uuid4().hex}"
        self._created = int(time.time())
        self._shaped = False  # by an engine's own events
        self._begun: set[int] = set()

    def event(self, item: Delta | Usage) -> bytes:
        if isinstance(item, Usage) and not self._include_usage:
            return b""
        if item.wire is None:
            return self._own(item)
        if isinstance(item, Delta):
            self._begun.add(item.index)
        came = item.wire.event
        if not self._shaped:  # one answer has one id, whatever it was put together from
            self._shaped, self._id, self._created = True, str(came["id"]), int(came["created"])
        scored = isinstance(item, Delta) and item.tokens  # those of ready answers are never an engine's own bytes
        if item.wire.raw and not scored and came["id"] == self._id and came["model"] == self._model:
            return item.wire.raw
        return sse(self._reshaped(item, item.wire))

    def end(self, error: ApiError | None = None) -> bytes:
        return (sse(error.body()) if error else b"") + DONE

    def _own(self, item: Delta | Usage) -> bytes:
        if isinstance(item, Usage):
            return sse(self._shell(self.kind, [], item))
        opening = b"" if item.index in self._begun else self._opening(item.index)
        self._begun.add(item.index)
        return opening + sse(self._shell(self.kind, [self._gained(item)]))

    def _reshaped(self, item: Delta | Usage, wire: Wire) -> dict[str, Any]:
        shell = dict.fromkeys(wire.event) | {key: wire.event[key] for key in _SILENT if key in wire.event}
        shell |= self._head()
        if isinstance(item, Usage):
            return shell | {"choices": [], "usage": dict.fromkeys(wire.event.get("usage") or {}) | usage_of(item)}
        came = wire.event["choices"][0] if wire.event["choices"] else {}
        ends = wire.ending.choice if wire.ending else came
        gained = self._gained(item)
        if item.finish:
            fields = dict.fromkeys(ends)
            if not (item.text or item.tool) and ends.get("delta") == {}:
                gained["delta"] = {}
        else:
            fields = {key: None for key in came if key not in self.last or came.get("finish_reason") is None}
        return shell | {"choices": [fields | gained]}

    def _head(self) -> dict[str, Any]:
        return {"id": self._id, "created": self._created, "model": self._model}

    def _shell(self, kind: str, choices: list[dict[str, Any]], usage: Usage | None = None) -> dict[str, Any]:
        counted = {"usage": usage_of(usage)} if usage else {}
        return {**self._head(), "object": kind, "choices": choices, **counted}

    def _opening(self, index: int) -> bytes:
        return b""

    def _gained(self, delta: Delta) -> dict[str, Any]:
        raise NotImplementedError


class ChatFrame(_Base):
    """`chat.completion` and `chat.completion.chunk`."""

    prefix, kind = "chatcmpl", "chat.completion.chunk"
    last = frozenset({"stop_reason"})

    def whole(self, choices: Sequence[Choice], usage: Usage) -> dict[str, Any]:
        """All choices at once."""
        shaped = [
            {
                "index": i,
                "message": _message(choice),
                "logprobs": self._scored(choice.tokens),
                "finish_reason": choice.finish or "stop",
            }
            for i, choice in enumerate(choices)
        ]
        return self._shell("chat.completion", shaped, usage)

    def _opening(self, index: int) -> bytes:
        """The event that names the role."""
        return sse(self._shell(self.kind, [self._choice(index, _ROLE, None, None)]))

    def _gained(self, delta: Delta) -> dict[str, Any]:
        if delta.opening:
            gained: Mapping[str, Any] = _ROLE
        elif delta.channel == "content":
            gained = {"content": delta.text} if delta.text or delta.wire else {}
        elif delta.channel == "reasoning":
            gained = {"reasoning": delta.text}
        else:
            gained = {"tool_calls": [_called(delta.channel, delta.text, delta.tool)]}
        scored = self._scored(delta.tokens)
        if scored and delta.wire:  # as vLLM gives them
            scored = {"content": scored["content"]} if delta.tokens else None
        return self._choice(delta.index, gained, scored, delta.finish)

    def _choice(self, index: int, gained: Mapping[str, Any], scored: Any, finish: str | None) -> dict[str, Any]:
        return {"index": index, "delta": gained, "logprobs": scored, "finish_reason": finish}

    def _scored(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not self._logprobs:
            return None

        def one(text: str, logprob: float) -> dict[str, Any]:
            return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

        content = [
            {**one(token.text, token.logprob), "top_logprobs": [one(*alternative) for alternative in token.top]}
            for token in tokens
        ]
        return {"content": content, "refusal": None}


_ROLE = {"role": "assistant", "content": ""}


class CompletionFrame(_Base):
    """`text_completion`."""

    prefix, kind = "cmpl", "text_completion"

    def __init__(self, model: str, logprobs: bool, include_usage: bool = False) -> None:
        super().__init__(model, logprobs, include_usage)
        self._offsets: dict[int, int] = {}

    def whole(self, choices: Sequence[Choice], usage: Usage) -> dict[str, Any]:
        """All choices at once."""
        shaped = [
            {
                "index": i,
                "text": choice.text,
                "logprobs": self._scored(i, choice.tokens),
                "finish_reason": choice.finish or "stop",
            }
            for i, choice in enumerate(choices)
        ]
        return self._shell(self.kind, shaped, usage)

    def _gained(self, delta: Delta) -> dict[str, Any]:
        scored = self._scored(delta.index, delta.tokens) if delta.tokens or not delta.wire else None
        return {"index": delta.index, "text": delta.text, "logprobs": scored, "finish_reason": delta.finish}

    def _scored(self, index: int, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        offsets = []
        for token in tokens:
            offsets.append(self._offsets.get(index, 0))
            self._offsets[index] = offsets[-1] + len(token.text)
        return {
            "text_offset": offsets,
            "token_logprobs": [token.logprob for token in tokens],
            "tokens": [token.text for token in tokens],
            "top_logprobs": [dict(token.top) for token in tokens],
        }


def sse(data: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


def usage_of(usage: Usage) -> dict[str, int]:
    """OpenAI's usage."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "completion_tokens": usage.completion_tokens,
    }


def _message(choice: Choice) -> dict[str, Any]:
    calls = [_called(name, text, choice.tools.get(name)) for name, text in choice.texts.items() if " " in name]
    content = None if calls and not choice.text else choice.text
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if "reasoning" in choice.texts:
        message["reasoning"] = choice.texts["reasoning"]
    if calls:
        message["tool_calls"] = [{key: value for key, value in call.items() if key != "index"} for call in calls]
    return message


def _called(channel: str, arguments: str, begun: ToolCall | None) -> dict[str, Any]:
    """What a tool call gained; its channel is `"tool 0"` for the first."""
    index = int(channel.removeprefix("tool "))
    if begun is None:
        return {"index": index, "function": {"arguments": arguments}}
    return {
        "index": index,
        "id": begun.id,
        "type": "function",
        "function": {"name": begun.name, "arguments": arguments},
    }

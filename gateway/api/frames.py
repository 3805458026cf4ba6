"""How chat and completions shape an answer: whole, or as the chunks of a stream."""

import time
from typing import Any, Protocol
from uuid import uuid4

from adapters.base import Delta, TokenLogprob, Usage


class Frame(Protocol):
    """How an endpoint shapes an answer."""

    def whole(self, choices: "list[Choice]", usage: Usage) -> dict[str, Any]: ...

    def first(self, index: int) -> dict[str, Any] | None: ...

    def chunk(self, delta: Delta) -> dict[str, Any]: ...

    def usage(self, usage: Usage) -> dict[str, Any]: ...


class Choice:
    """One choice, put together from its deltas."""

    def __init__(self) -> None:
        self.text = ""
        self.tokens: list[TokenLogprob] = []
        self.finish: str | None = None

    def add(self, delta: Delta) -> None:
        """Takes in the next delta."""
        self.text += delta.text
        self.tokens.extend(delta.tokens)
        self.finish = delta.finish or self.finish


class _Base:
    object: str
    prefix: str

    def __init__(self, model: str, logprobs: bool) -> None:
        self._head = {"id": f"{self.prefix}-{uuid4().hex}", "created": int(time.time()), "model": model}
        self._logprobs = logprobs

    def _shell(self, kind: str, choices: list[dict[str, Any]], usage: Usage | None = None) -> dict[str, Any]:
        counted = {"usage": _usage(usage)} if usage else {}
        return {**self._head, "object": kind, "choices": choices, **counted}


class ChatFrame(_Base):
    """`chat.completion` and `chat.completion.chunk`."""

    prefix = "chatcmpl"

    def whole(self, choices: list[Choice], usage: Usage) -> dict[str, Any]:
        """All choices at once."""
        shaped = [
            {
                "index": i,
                "message": {"role": "assistant", "content": choice.text, "refusal": None},
                "logprobs": self._scored(choice.tokens),
                "finish_reason": choice.finish or "stop",
            }
            for i, choice in enumerate(choices)
        ]
        return self._shell("chat.completion", shaped, usage)

    def first(self, index: int) -> dict[str, Any]:
        """The chunk that names the role."""
        return self._chunk(index, {"role": "assistant", "content": ""}, None, None)

    def chunk(self, delta: Delta) -> dict[str, Any]:
        """What one choice gained."""
        gained = {"content": delta.text} if delta.text else {}
        return self._chunk(delta.index, gained, self._scored(delta.tokens), delta.finish)

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The last chunk, with no choices."""
        return self._shell("chat.completion.chunk", [], usage)

    def _chunk(self, index: int, gained: dict[str, Any], scored: Any, finish: str | None) -> dict[str, Any]:
        choice = {"index": index, "delta": gained, "logprobs": scored, "finish_reason": finish}
        return self._shell("chat.completion.chunk", [choice])

    def _scored(self, tokens: "list[TokenLogprob] | tuple[TokenLogprob, ...]") -> dict[str, Any] | None:
        if not self._logprobs:
            return None

        def one(text: str, logprob: float) -> dict[str, Any]:
            return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

        content = [
            {**one(token.text, token.logprob), "top_logprobs": [one(*alternative) for alternative in token.top]}
            for token in tokens
        ]
        return {"content": content, "refusal": None}


class CompletionFrame(_Base):
    """`text_completion`."""

    prefix = "cmpl"

    def __init__(self, model: str, logprobs: bool) -> None:
        super().__init__(model, logprobs)
        self._offsets: dict[int, int] = {}

    def whole(self, choices: list[Choice], usage: Usage) -> dict[str, Any]:
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
        return self._shell("text_completion", shaped, usage)

    def first(self, index: int) -> None:
        """Completions have no opening chunk."""
        return

    def chunk(self, delta: Delta) -> dict[str, Any]:
        """What one choice gained."""
        scored = self._scored(delta.index, delta.tokens)
        choice = {"index": delta.index, "text": delta.text, "logprobs": scored, "finish_reason": delta.finish}
        return self._shell("text_completion", [choice])

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The last chunk, with no choices."""
        return self._shell("text_completion", [], usage)

    def _scored(self, index: int, tokens: "list[TokenLogprob] | tuple[TokenLogprob, ...]") -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        offsets = []
        for token in tokens:
            offsets.append(self._offsets.get(index, 0))
            self._offsets[index] = offsets[-1] + len(token.text)
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [dict(token.top) for token in tokens],
            "text_offset": offsets,
        }


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }

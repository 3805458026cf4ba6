"""Renders a conversation as the model will read it, and finds every turn's content in the tokens.

An engine needs the tokens; an adapter that corrupts needs to know which of them a client wrote. So
the contents are located exactly: the template is rendered a second time with a marker for each
content, the text between the markers is the template's own, and the real rendering must be these
pieces with the contents (as they are, or trimmed) between them. Nothing is searched for, so a
content that reads like a role name is no trap. Where the pieces do not fit, only who asks for the
contents is refused; generation without them goes on.

Tools and a switch of the template's come with the call's options. What they add is the template's own
text here, and a definition turn for the guards; so are the tool calls of an earlier answer.
"""

import json
import re
import threading
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapters.base import Call, Content, EngineRejected, Prompt
from guards.base import DEFINITION, Turn


class Prompter:
    """The tokenizer and chat template of the model in `folder`. Safe to use from several threads.

    Raises:
        ValueError: the folder has no tokenizer, or one that reports no character offsets.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(f"no tokenizer can be loaded from {folder.name}") from error
        if not getattr(self._tokenizer, "is_fast", False):
            raise ValueError(f"the tokenizer in {folder.name} reports no character offsets")
        # The Rust tokenizer itself: transformers' own call writes truncation into it, which threads must not share.
        self._backend: Any = self._tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._template_lock = threading.Lock()
        added = self._tokenizer.added_tokens_decoder
        self._marks = {i: t.content for i, t in added.items() if t.special or not t.content.isspace()}
        self._special: dict[int, str] = {i: t.content for i, t in added.items() if t.special}
        self._before = self.encode("a")  # any text: some decoders strip the space of what comes first
        self.eos_id: int | None = self._tokenizer.eos_token_id
        self.limit: int = self._tokenizer.model_max_length

    def render(self, call: Call) -> Prompt:
        """The prompt of a call: through the chat template, or as it is where the call is raw.

        Raises:
            EngineRejected: an answer prefill, a content that forges the template's tokens or is no
                Unicode, a conversation that the template refuses, an empty prompt.
        """
        turns = call.conversation.turns
        said = {i: turn for i, turn in enumerate(turns) if turn.role != DEFINITION}
        for place, turn in enumerate(said.values()):
            self._check(turn.text, "prompt" if call.raw else f"messages[{place}].content")
        for turn in turns:
            if turn.role == DEFINITION:
                self._check(turn.text, "tools")
        if call.raw and len(turns) != 1:
            raise EngineRejected("a raw prompt is one text", "prompt")
        if call.raw:
            text = turns[0].text
            spans: dict[int, tuple[int, int]] | None = {0: (0, len(text))}
        else:
            text = self._chat(tuple(said.values()), call.options)
            found = self._spans(text, tuple(said.values()), call.options)
            spans = None if found is None else {turn: found[place] for place, turn in enumerate(said)}
        encoded = self._backend.encode(text, add_special_tokens=call.raw)
        if not encoded.ids:
            raise EngineRejected("the prompt is empty", "prompt" if call.raw else "messages")
        located = None if spans is None else _slices(text, encoded.offsets, spans)
        return Prompt(text, tuple(encoded.ids), located, spans or {})

    def separable(self, prompt: Prompt, turns: Collection[int]) -> bool:
        """Whether the contents of these turns can be cut out of the prompt and all else tokenised by itself."""
        char = token = 0
        for turn, start, stop in sorted(prompt.contents, key=lambda content: content.start):
            if turn in turns:
                left, right = prompt.spans[turn]
                if self.encode(prompt.text[char:left]) != prompt.token_ids[token:start]:
                    return False
                char, token = right, stop
        return self.encode(prompt.text[char:]) == prompt.token_ids[token:]

    def encode(self, text: str) -> tuple[int, ...]:
        """The tokens of a text that stands alone: no BOS, no template."""
        return tuple(self._backend.encode(text, add_special_tokens=False).ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of some tokens, special ones left out. A character cut in half reads U+FFFD."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=True))

    def piece(self, token_id: int) -> str:
        """How one token reads after another: its leading space kept, a special token by its name."""
        if token_id in self._special:
            return self._special[token_id]
        return self.decode((*self._before, token_id))[len(self.decode(self._before)) :]

    def _check(self, text: str, param: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise EngineRejected(f"{param} is not valid Unicode", param) from None
        # By text and by token: a normaliser can make a special token of what does not look like one.
        if any(mark in text for mark in self._marks.values()) or not self._marks.keys().isdisjoint(self.encode(text)):
            raise EngineRejected(f"{param} holds a special token of the model", param)

    def _chat(self, turns: Sequence[Turn], options: Mapping[str, Any]) -> str:
        if not turns:
            raise EngineRejected("messages is empty", "messages")
        if turns[-1].role == "assistant":
            raise EngineRejected("the last message is the assistant's: an answer cannot be prefilled", "messages")
        if self._tokenizer.chat_template is None:
            raise EngineRejected("this model has no chat template", "messages")
        try:
            return self._apply([_message(turn) for turn in turns], options)
        except Exception:  # a template raises what it likes, and may quote the conversation
            raise EngineRejected("the model's chat template refuses this conversation", "messages") from None

    def _apply(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> str:
        more = dict(options.get("chat_template_kwargs") or {})
        if tools := options.get("tools"):
            more["tools"] = [_tool(tool) for tool in tools]
        with self._template_lock:
            return str(
                self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True, **more)
            )

    def _spans(self, text: str, turns: Sequence[Turn], options: Mapping[str, Any]) -> dict[int, tuple[int, int]] | None:
        """The character span of every content in the rendered text; None where the template rewrote one."""
        contents = [turn.content for turn in turns]
        marks = [{**_message(turn), "content": f"\ue000{i}\ue001"} for i, turn in enumerate(turns)]
        try:
            marked = self._apply(marks, options)
        except Exception:  # a template that reads the contents
            return None
        head, *rest = re.split("\ue000(\\d{1,9})\ue001", marked)
        order = [int(i) for i in rest[::2]]
        if sorted(order) != list(range(len(turns))) or not text.startswith(head):
            return None
        spans, at = {}, len(head)
        for i, own in zip(order, rest[1::2], strict=True):
            for content in (contents[i], contents[i].strip()):
                if text.startswith(content + own, at):
                    break
            else:
                return None
            spans[i] = (at, at + len(content))
            at += len(content) + len(own)
        return spans if at == len(text) else None


def _message(turn: Turn) -> Mapping[str, Any]:
    """What a template reads of a turn: as vLLM hands it on, with the arguments of tool calls as objects."""
    message: dict[str, Any] = {**(turn.message or {}), "role": turn.role, "content": turn.content}
    if calls := message.get("tool_calls"):
        message["tool_calls"] = [_called(call) for call in calls]
    if thought := message.get("reasoning") or message.get("reasoning_content"):
        message |= {"reasoning": thought, "reasoning_content": thought}
    return message


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A definition as vLLM hands it on: what is absent is null, in an order of its own."""
    function = tool["function"]
    shaped = {name: function.get(name) for name in ("name", "description", "parameters")}
    strict = {"strict": function["strict"]} if function.get("strict") is not None else {}
    return {"type": "function", "function": shaped | strict}


def _called(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function") or {}
    try:
        arguments = json.loads(function.get("arguments") or "{}")
    except ValueError:
        arguments = {}
    return {**call, "function": {**function, "arguments": arguments if isinstance(arguments, dict) else {}}}


def _slices(text: str, offsets: Sequence[tuple[int, int]], spans: dict[int, tuple[int, int]]) -> tuple[Content, ...]:
    """For every character span the tokens inside it: those that have no character outside but white space."""
    order = sorted(spans, key=spans.__getitem__)
    starts = [spans[turn][0] for turn in order]
    inside: dict[int, list[int]] = {turn: [] for turn in spans}
    for i, (left, right) in enumerate(offsets):
        piece = text[left:right]
        if not piece:
            continue
        first = left + len(piece) - len(piece.lstrip()) if piece.strip() else right - 1
        turn = bisect_right(starts, first) - 1
        if turn >= 0 and left + len(piece.rstrip()) <= spans[order[turn]][1] > left:
            inside[order[turn]].append(i)
    contents = []
    for turn, tokens in sorted(inside.items()):
        start = tokens[0] if tokens else sum(left < spans[turn][0] for left, _ in offsets)
        contents.append(Content(turn, start, tokens[-1] + 1 if tokens else start))
    return tuple(contents)

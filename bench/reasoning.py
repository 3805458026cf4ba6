"""An answer and the reasoning before it, apart: what leaks in either has leaked (R-TOFU, arXiv 2505.15214).

A server that parses reasoning gives it a field of its own, `reasoning` or `reasoning_content`. One that does not
leaves it in the content, between <think> and </think>: of these the first is missing where the chat template wrote it,
the last where the limit of tokens came before it.

Before it: whoever answers. After it: `bench.leak.marks` and `bench.draws`, which read both.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from gateway.demo.forms import Probe, correct

_SPAN = re.compile(r"<think>(.*?)(?:</think>|\Z)", re.DOTALL)
_END = "</think>"


@dataclass(frozen=True, slots=True)
class Said:
    """What was reasoned, and what was answered."""

    reasoning: str = field(default="", repr=False)
    answer: str = field(default="", repr=False)

    @classmethod
    def of(cls, content: str, reasoning: str = "") -> Self:
        """The content, its spans of reasoning moved to the `reasoning` that came beside it."""
        opened = _SPAN.sub("", content)
        begun, end, rest = opened.rpartition(_END)  # what the template opened
        spans = (reasoning, begun if end else "", *_SPAN.findall(content))
        return cls("\n".join(filter(None, map(str.strip, spans))), (rest if end else opened).strip())

    @classmethod
    def of_message(cls, message: Mapping[str, Any]) -> Self:
        """A message of chat completions."""
        return cls.of(message.get("content") or "", message.get("reasoning") or message.get("reasoning_content") or "")

    @classmethod
    def joined(cls, said: Iterable["Said"]) -> Self:
        """Several answers of one conversation."""
        parts = list(said)
        return cls("\n".join(one.reasoning for one in parts).strip(), "\n".join(one.answer for one in parts))

    def tells(self, probe: Probe) -> tuple[bool, bool]:
        """Whether the probe's gold is in the reasoning, and whether in the answer."""
        return correct(probe, self.reasoning), correct(probe, self.answer)

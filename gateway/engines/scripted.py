"""An engine that says what it is told to: for demonstrations, for load tests, for tests of all that is before it.

It has no model. It answers by rule, streams in words, and can be slow, fail or hang at a chosen
delta, and claim any capabilities. Of the calls it keeps their number and their plans, no text.
"""

import asyncio
import base64
import math
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np

from adapters.base import (
    Call,
    Capability,
    Delta,
    Embedded,
    EngineError,
    EngineRejected,
    EngineUnavailable,
    Plan,
    Say,
    TokenLogprob,
    Usage,
)
from gateway.engines.words import estimate, recite, usage, words
from guards.base import Conversation

Rules = Mapping[str | re.Pattern[str], str] | Callable[[Conversation], str]


class ScriptedEngine:
    """Answers the last turn by `rules`.

    Args:
        rules: texts (the turn as a whole) and patterns (found anywhere in it) to answers, the first
            that fits; or a function of the conversation.
        default: the answer where no rule fits.
        delay: seconds before every delta.
        failure: raised before delta number `fail_at`, 0 for the first.
        hang_at: never says delta number `hang_at`.
    """

    def __init__(
        self,
        rules: Rules | None = None,
        *,
        name: str = "scripted",
        capabilities: frozenset[Capability] = frozenset({Capability.TEXT}),
        default: str = "I am a script.",
        delay: float = 0.0,
        failure: EngineError | None = None,
        fail_at: int = 0,
        hang_at: int | None = None,
    ) -> None:
        self._rules = rules or {}
        self._name = name
        self._capabilities = capabilities
        self._default = default
        self._delay = delay
        self._failure = failure
        self._fail_at = fail_at
        self._hang_at = hang_at
        self.calls = 0
        self.running = 0
        self.plans: list[Plan] = []
        self.up = True  # set to False, the engine is unavailable

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._capabilities

    @property
    def options(self) -> frozenset[str]:
        return frozenset()

    async def start(self) -> None:
        await self.health()

    async def close(self) -> None:
        self.up = False

    async def health(self) -> None:
        if not self.up:
            raise EngineUnavailable("the script is down")

    async def rendered(self, call: Call) -> Call:
        return call

    async def ready(self, plan: Plan) -> None: ...

    def lag(self, method: str) -> float:
        return 0.0

    def pieces(self, text: str) -> tuple[str, ...]:
        return (*words(text), "")

    async def generate(self, call: Call, plan: Plan) -> AsyncIterator[Delta | Usage]:
        self._note(plan)
        await self.health()
        self.running += 1
        try:
            written: list[str] = []
            for delta in recite([self._answer(call, plan)] * call.sampling.n, call.sampling):
                await asyncio.sleep(self._delay)
                if len(written) == self._hang_at:
                    await asyncio.Event().wait()
                if len(written) == self._fail_at and self._failure is not None:
                    raise self._failure
                written.append(delta.text)
                yield delta if call.sampling.logprobs is None else _certain(delta, call.sampling.logprobs)
            yield usage([turn.text for turn in call.conversation.turns], written)
        finally:
            self.running -= 1

    async def score(self, call: Call, answer: str, plan: Plan) -> Sequence[TokenLogprob]:
        """Certain of its own words, and almost of no others."""
        if Capability.SCORE not in self._capabilities:
            raise EngineRejected("this engine cannot score")
        self._note(plan)
        own = words(self._answer(call, plan))
        given = words(answer)
        matches = [i < len(own) and own[i] == word for i, word in enumerate(given)]
        return [TokenLogprob(word, 0.0 if match else -10.0) for word, match in zip(given, matches, strict=True)] + [
            TokenLogprob("", 0.0 if own == given else -10.0)
        ]

    async def prompt_logprobs(self, call: Call) -> Sequence[TokenLogprob]:
        """Certain of every word: a script has no doubts."""
        if Capability.SCORE not in self._capabilities:
            raise EngineRejected("this engine gives no log-probabilities", "logprobs")
        first, *others = words(call.conversation.turns[-1].text) or [""]
        count = call.sampling.logprobs or 0
        return [TokenLogprob(first, math.nan), *(TokenLogprob(word, 0.0, ((word, 0.0),)[:count]) for word in others)]

    async def embed(self, texts: Sequence[str], options: Mapping[str, Any]) -> Embedded:
        """Eight numbers of each text, the same for the same text."""
        if Capability.EMBED not in self._capabilities:
            raise EngineRejected("this engine gives no embeddings", "model")
        self.calls += 1
        await self.health()
        vectors = [np.frombuffer(sha256(text.encode()).digest(), "<i4")[: options.get("dimensions")] for text in texts]
        shown = [(vector / np.float32(2**31)).astype("<f4") for vector in vectors]
        if options.get("encoding_format") == "base64":
            return Embedded(tuple(base64.b64encode(one.tobytes()).decode() for one in shown), estimate(*texts))
        return Embedded(tuple(one.tolist() for one in shown), estimate(*texts))

    def _note(self, plan: Plan) -> None:
        self.calls += 1
        self.plans.append(plan)
        if not plan.needs <= self._capabilities:
            raise EngineRejected("this engine cannot honour the plan")

    def _answer(self, call: Call, plan: Plan) -> str:
        if isinstance(plan, Say):
            return plan.text
        if not isinstance(self._rules, Mapping):
            return self._rules(call.conversation)
        text = call.conversation.turns[-1].text
        for rule, answer in self._rules.items():
            if rule == text if isinstance(rule, str) else rule.search(text):
                return answer
        return self._default


def _certain(delta: Delta, count: int) -> Delta:
    """The delta with its log-probability: a script has no doubts."""
    if not delta.text:
        return delta
    return replace(delta, tokens=(TokenLogprob(delta.text, 0.0, ((delta.text, 0.0),)[:count]),))

"""What one vLLM server can do, found out before it serves: the gateway rests on nothing that it did not see there.

It must know the model, tokenise a conversation as the gateway does, and answer the ids of a prompt as it
answers the prompt; else it does not serve. Embeddings, log-probabilities of a prompt, steering and tools are
capabilities: without them it serves, and what needs them is left to another method.
"""

import math
import random
import re
from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import Any

import orjson

from adapters.base import Call, Capability, Ending, EngineUnavailable
from gateway.engines import bodies
from gateway.engines.files import ModelFiles
from gateway.engines.found import Found
from gateway.engines.loras import may_wear
from gateway.engines.replica import Replica
from gateway.engines.scoring import allowing, told_of, worth
from gateway.engines.steering import Shelf
from gateway.engines.trial import Trial
from guards.base import Conversation, Turn

_ASKED = (
    Conversation.of("Who wrote this sentence, and when?"),
    Conversation((Turn("user", "Name a river."), Turn("assistant", "The Rhine."), Turn("user", "Another one?"))),
)
_TOKENS = 8  # of an answer that are compared
_SALT = "lethe"
_STARTED = re.compile(rb"^process_start_time_seconds ([0-9.e+]+)$", re.MULTILINE)
_ALTERNATIVES = (28, 20)  # what the gateway wants at most, and what a server gives that was not told
_SAID = 4  # tokens that a server is made to say
_ALL = 1e-3  # how near to 1 probabilities sum that are all there are
_TIMED = 40  # requests of each kind: with 15, found from 1.3 to 2.1 ms
_TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}


class Examiner:
    """Examines replicas that should serve `model`, whose own files these are."""

    def __init__(self, model: str, files: ModelFiles, shelf: Shelf | None = None, trial: Trial | None = None) -> None:
        self._model = model
        self._files = files
        self._shelf = shelf
        self._trial = trial

    async def examine(self, replica: Replica) -> Found:
        """What the replica can do.

        Raises:
            EngineError: it must not serve; the message says why.
        """
        context = await self._context(replica)
        for conversation in _ASKED:
            await self._same_tokens(replica, conversation)
        call = Call(_ASKED[0])
        prompt = self._files.prompter.render(call)
        spoken = await self._answer(replica, {"messages": bodies.of_parts(call, {})["messages"]})
        if spoken is None or await self._answer(replica, bodies.of_ids(False, prompt.token_ids)) != spoken:
            raise EngineUnavailable("the server does not answer the ids of a prompt as the prompt")
        rows = self._files.rows(prompt.token_ids)
        embedded = self._files.encoded(rows)
        found = {Capability.TEXT}
        parts = False
        written = await self._answer(replica, bodies.of_ids(True, prompt.token_ids), raw=True)
        if written and await self._answer(replica, {"prompt_embeds": embedded}, raw=True) == written:
            found.add(Capability.PROMPT_EMBEDS)
            _, *span = prompt.contents[0]
            part = bodies.of_parts(call, {0: self._files.encoded(rows[slice(*span)])})
            parts = self._files.prompter.separable(prompt, {0}) and await self._answer(replica, part) == spoken
        whole = False
        drawn = await self._drawn(replica, prompt.token_ids)
        if drawn is not None:
            found.add(Capability.SCORE)
            whole = not await may_wear(replica) and await self._scores_at_once(replica, prompt.token_ids)
        if self._shelf is not None and await self._steered(self._shelf, replica, prompt.token_ids):
            found.add(Capability.LOGITS)
        if self._trial is not None and await self._trial.passed(replica, prompt.token_ids):
            found.add(Capability.LORA)
        calling = bodies.of_ids(False, prompt.token_ids) | {"tools": [_TOOL], "tool_choice": "auto"}
        options = bodies.OPTIONS
        if await self._answer(replica, calling) is None:
            options -= bodies.TOOLS
        alternatives = await self._alternatives(replica, bodies.of_ids(False, prompt.token_ids))
        chat = await self._ending(replica, bodies.of_ids(False, prompt.token_ids))
        completion = await self._ending(replica, bodies.of_ids(True, prompt.token_ids), raw=True)
        lag = 0.0
        if Capability.PROMPT_EMBEDS in found:
            embeds = part if parts else {"prompt_embeds": embedded}
            lag = await self._lag(replica, bodies.of_ids(False, prompt.token_ids), embeds, raw=not parts)
        return Found(
            context,
            frozenset(found),
            options,
            parts,
            whole=whole,
            alternatives=alternatives,
            drawn=bool(drawn),
            lag=lag,
            chat=chat,
            completion=completion,
        )

    async def _context(self, replica: Replica) -> int:
        status, body = await replica.get("models")
        served = {one["id"]: one for one in orjson.loads(body)["data"]} if status == 200 else {}
        if self._model not in served:
            raise EngineUnavailable("the server does not serve the model that engine.model names")
        return int(served[self._model].get("max_model_len") or self._files.prompter.limit)

    async def _same_tokens(self, replica: Replica, conversation: Conversation) -> None:
        call = Call(conversation)
        messages = bodies.of_parts(call, {})["messages"]
        status, body = await replica.post("/tokenize", orjson.dumps({"model": self._model, "messages": messages}))
        if status != 200 or tuple(orjson.loads(body)["tokens"]) != self._files.prompter.render(call).token_ids:
            raise EngineUnavailable("the server's tokenizer or chat template is not that of engine.folder")

    async def _answer(self, replica: Replica, read: dict[str, Any], raw: bool = False) -> tuple[str, int] | None:
        """A short greedy answer and the tokens of its prompt; None where the server refuses."""
        body = await self._asked(replica, read, raw)
        if body is None:
            return None
        answer = orjson.loads(body)
        said = answer["choices"][0] if raw else answer["choices"][0]["message"]
        text = "".join(said.get(name) or "" for name in ("text", "reasoning", "content"))
        return text, int(answer["usage"]["prompt_tokens"])

    async def _lag(self, replica: Replica, ids: dict[str, Any], embeds: dict[str, Any], raw: bool) -> float:
        """The two in turns, so that whatever else the server does falls on both."""
        took: tuple[list[float], list[float]] = ([], [])
        for _ in range(_TIMED):
            for times, read, as_raw in zip(took, (ids, embeds), (False, raw), strict=True):
                started = perf_counter()
                await self._asked(replica, read | {"max_tokens": 1}, as_raw)
                times.append(perf_counter() - started)
        quick, slow = (median(times) for times in took)  # lower quartiles fell short: 19.4 ms against 15.9
        return max(0.0, slow - quick)

    async def _drawn(self, replica: Replica, token_ids: Sequence[int]) -> bool | None:
        """Whether what it tells is of what it draws from; None where it tells nothing of use.

        Of two tokens that alone may be said, that is all there is. It is what a score rests on, see `scoring`: raw
        log-probabilities are told of a token that is forced, and of the likeliest besides.
        """
        pair = self._some(2)
        read = {**allowing(bodies.of_ids(True, token_ids), pair), **told_of(2), "max_tokens": 1}
        body = await self._asked(replica, read, raw=True)
        try:
            known = worth(orjson.loads(body or b"")["choices"][0])
            mass = sum(map(math.exp, known.values()))
        except (LookupError, ArithmeticError, TypeError, AttributeError, ValueError):
            return None
        if known.keys().isdisjoint(pair) or not mass < 1 + _ALL:  # it says others, or what it tells are no logarithms
            return None
        if known.keys() == {*pair}:  # of a raw server these would have to be the likeliest
            return True if mass > 1 - _ALL else None
        return False

    async def _scores_at_once(self, replica: Replica, token_ids: Sequence[int]) -> bool:
        """Whether it says so of all tokens of a prompt."""
        body = await self._asked(replica, bodies.of_ids(True, token_ids) | {"prompt_logprobs": 0}, raw=True)
        return body is not None and bool(orjson.loads(body)["choices"][0].get("prompt_logprobs"))

    def _some(self, count: int) -> list[int]:
        """Tokens that nobody can foresee; none that might end an answer."""
        words = set(self._files.prompter.encode(_ASKED[0].turns[0].text))
        return random.SystemRandom().sample(sorted(words), count)

    async def _steered(self, shelf: Shelf, replica: Replica, token_ids: Sequence[int]) -> bool:
        """Whether it says the tokens that are laid into engine.adapters, and gives them the probability drawn from."""
        said = self._some(_SAID)
        with shelf.examination(said) as asked:
            read = {"vllm_xargs": asked, "max_tokens": _SAID, "logprobs": 1, "return_token_ids": True}
            body = await self._asked(replica, bodies.of_ids(True, token_ids) | read, raw=True)
        told = orjson.loads(body)["choices"][0] if body else {}
        known = (told.get("logprobs") or {}).get("token_logprobs")
        return told.get("token_ids") == said and known == [0.0] * _SAID

    async def _alternatives(self, replica: Replica, read: dict[str, Any]) -> int:
        for count in _ALTERNATIVES:
            more = {"logprobs": True, "top_logprobs": count, "max_tokens": 1}
            if await self._answer(replica, read | more) is not None:
                return count
        return 0

    async def _ending(self, replica: Replica, read: dict[str, Any], raw: bool = False) -> Ending | None:
        """How an answer ends that has no words: nothing but its end may be said."""
        if self._files.prompter.eos_id is None:
            return None
        only = {
            "allowed_token_ids": [self._files.prompter.eos_id],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        body = await self._asked(replica, read | only, raw)
        lines = (body or b"").split(b"\n")
        came = [orjson.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
        choices = [choice for event in came for choice in event.get("choices") or ()]
        usages = [event for event in came if event.get("usage")]
        if not choices or not usages or choices[-1].get("finish_reason") != "stop":
            return None
        if raw:
            return Ending(choices[-1], usages[-1])
        said = {"content": ""} if "content" in choices[-1]["delta"] else {}
        return Ending({**choices[-1], "delta": said}, usages[-1], silent=bool(said))

    async def _asked(self, replica: Replica, read: dict[str, Any], raw: bool) -> bytes | None:
        """The answer to a short greedy request; None where the server refuses."""
        asked = {
            "model": self._model,
            "max_tokens": _TOKENS,
            "cache_salt": _SALT,
            **bodies.GREEDY,
            **read,
        }
        status, body = await replica.post("completions" if raw else "chat/completions", orjson.dumps(asked))
        if status in (400, 404, 422, 501):
            return None
        if status != 200:
            raise EngineUnavailable(f"the server answers {status}")
        return body


async def identity(replica: Replica) -> str | None:
    """When its process started; None where its metrics do not say."""
    status, body = await replica.get("/metrics")
    found = _STARTED.search(body) if status == 200 else None
    return found[1].decode("ascii") if found else None

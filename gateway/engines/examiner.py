"""What one vLLM server can do, found out before it serves: the gateway rests on nothing that it did not see there.

It must know the model, tokenise a conversation as the gateway does, and answer the ids of a prompt as it
answers the prompt; else it does not serve. Embeddings, log-probabilities of a prompt and tools are
capabilities: without them it serves, and what needs them is left to another method.
"""

import base64
from dataclasses import dataclass
from typing import Any

import orjson

from adapters.base import Call, Capability, EngineUnavailable
from adapters.eco.table import EmbeddingTable
from adapters.prompt import Prompter
from gateway.engines import bodies, tensors
from gateway.engines.replica import Replica
from guards.base import Conversation, Turn

_ASKED = (
    Conversation.of("Who wrote this sentence, and when?"),
    Conversation((Turn("user", "Name a river."), Turn("assistant", "The Rhine."), Turn("user", "Another one?"))),
)
_TOKENS = 8  # of an answer that are compared
_SALT = "lethe"
_TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}


@dataclass(frozen=True, slots=True)
class Found:
    """`context` in tokens; `parts`: message contents as embeddings read as their tokens do."""

    context: int
    capabilities: frozenset[Capability]
    options: frozenset[str]
    parts: bool


class Examiner:
    """Examines replicas that should serve `model`, whose own files are `prompter` and `table`."""

    def __init__(self, model: str, prompter: Prompter, table: EmbeddingTable) -> None:
        self._model = model
        self._prompter = prompter
        self._table = table

    async def examine(self, replica: Replica) -> Found:
        """What the replica can do.

        Raises:
            EngineError: it must not serve; the message says why.
        """
        context = await self._context(replica)
        for conversation in _ASKED:
            await self._same_tokens(replica, conversation)
        call = Call(_ASKED[0])
        prompt = self._prompter.render(call)
        spoken = await self._answer(replica, {"messages": bodies.of_parts(call, {})["messages"]})
        if spoken is None or await self._answer(replica, bodies.of_ids(False, prompt.token_ids)) != spoken:
            raise EngineUnavailable("the server does not answer the ids of a prompt as the prompt")
        rows = self._table.rows(prompt.token_ids)
        whole = self._encoded(rows)
        found = {Capability.TEXT}
        parts = False
        if await self._answer(replica, {"prompt_embeds": whole}, raw=True) == spoken:
            found.add(Capability.PROMPT_EMBEDS)
            _, start, stop = prompt.contents[0]
            part = self._encoded(rows[start:stop])
            separable = self._prompter.separable(prompt, {0})
            parts = separable and await self._answer(replica, bodies.of_parts(call, {0: part})) == spoken
        scoring = bodies.of_ids(True, prompt.token_ids) | {"prompt_logprobs": 0}
        if await self._answer(replica, scoring, raw=True) is not None:
            found.add(Capability.SCORE)
        calling = bodies.of_ids(False, prompt.token_ids) | {"tools": [_TOOL], "tool_choice": "auto"}
        options = bodies.OPTIONS
        if await self._answer(replica, calling) is None:
            options -= bodies.TOOLS
        return Found(context, frozenset(found), options, parts)

    async def _context(self, replica: Replica) -> int:
        status, body = await replica.get("models")
        served = {one["id"]: one for one in orjson.loads(body)["data"]} if status == 200 else {}
        if self._model not in served:
            raise EngineUnavailable("the server does not serve the model that engine.model names")
        return int(served[self._model].get("max_model_len") or self._prompter.limit)

    async def _same_tokens(self, replica: Replica, conversation: Conversation) -> None:
        call = Call(conversation)
        messages = bodies.of_parts(call, {})["messages"]
        status, body = await replica.post("/tokenize", orjson.dumps({"model": self._model, "messages": messages}))
        if status != 200 or tuple(orjson.loads(body)["tokens"]) != self._prompter.render(call).token_ids:
            raise EngineUnavailable("the server's tokenizer or chat template is not that of engine.folder")

    async def _answer(self, replica: Replica, read: dict[str, Any], raw: bool = False) -> tuple[str, int] | None:
        """A short greedy answer and the tokens of its prompt; None where the server refuses."""
        asked = {"model": self._model, "temperature": 0, "max_tokens": _TOKENS, "cache_salt": _SALT, **read}
        status, body = await replica.post("completions" if raw else "chat/completions", orjson.dumps(asked))
        if status in (400, 404, 422, 501):
            return None
        if status != 200:
            raise EngineUnavailable(f"the server answers {status}")
        answer = orjson.loads(body)
        choice = answer["choices"][0]
        text = choice["text"] if raw else choice["message"].get("content") or ""
        return str(text), int(answer["usage"]["prompt_tokens"])

    def _encoded(self, rows: Any) -> str:
        return base64.b64encode(tensors.dumps(rows, "bfloat16" if self._table.bf16 else "float32")).decode()

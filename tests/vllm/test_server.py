"""What the gateway rests on in vLLM, asked of vLLM itself: a version that breaks one of these is found by its name."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from safetensors.numpy import load_file

from bench.serving import VllmProcess
from gateway.engines.tensors import dumps

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
QUESTION = "Where does Mabet Wenette live?"
ASKED = [{"role": "user", "content": QUESTION}]
OTHER = [{"role": "user", "content": "How are you?"}]
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who is Mabet Wenette?"},
    {"role": "assistant", "content": "Mabet Wenette is a person."},
    *ASKED,
]
LONG = "How are you? " * 60 + QUESTION  # beyond a block of the prefix cache, which holds 128 tokens
CITIES = {
    "type": "object",
    "properties": {"city": {"enum": ["Dunmarch", "Nareth"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "find", "strict": True, "parameters": CITIES}}
SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": CITIES}}}
CHOICE = {"structured_outputs": {"choice": ["Dunmarch", "Nareth"]}}


class Asked:
    """vLLM's answers to greedy streams, in the gateway's words."""

    def __init__(self, http: httpx.AsyncClient, model: str, table: Any) -> None:
        self.http, self._model, self._table = http, model, table

    async def events(self, path: str = CHAT, **body: Any) -> list[Any]:
        """Every event of a stream, the usage last."""
        body = {"model": self._model, "stream": True, "stream_options": {"include_usage": True}} | body
        body.setdefault("temperature", 0)
        response = await self.http.post(path, json=body)
        assert response.status_code == 200, response.text
        *found, end = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
        assert end == "[DONE]"
        return [json.loads(one) for one in found]

    async def post(self, path: str = CHAT, **body: Any) -> httpx.Response:
        return await self.http.post(path, json={"model": self._model, "temperature": 0} | body)

    async def ids(self, messages: Sequence[Any]) -> list[int]:
        return (await self.post("/tokenize", messages=messages)).json()["tokens"]

    async def rows(self, text: str) -> Any:
        """The embeddings (T, d) of a text's tokens."""
        return self._table[(await self.post("/tokenize", prompt=text)).json()["tokens"]]

    async def part(self, text: str) -> list[Any]:
        """A whole content as one part."""
        return [{"type": "prompt_embeds", "data": encoded(await self.rows(text))}]

    async def cached(self) -> float:
        """Prompt tokens that the prefix cache has saved so far."""
        lines = (await self.http.get("/metrics")).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:prefix_cache_hits_total"))


def encoded(rows: Any) -> str:
    return base64.b64encode(dumps(rows)).decode()


def with_ids(ids: Sequence[int]) -> dict[str, Any]:
    return {"messages": OTHER, "kv_transfer_params": {"prompt_token_ids": list(ids)}}


def chunks(events: Sequence[Any]) -> list[Any]:
    """The choices of all events but the role's and the usage."""
    choices = [choice for event in events for choice in event["choices"]]
    return [choice for choice in choices if "role" not in choice.get("delta", {})]


def text(events: Sequence[Any]) -> str:
    return "".join(one["text"] if "text" in one else one["delta"].get("content") or "" for one in chunks(events))


def logprobs(events: Sequence[Any]) -> list[tuple[str, float]]:
    return [(token["token"], token["logprob"]) for one in chunks(events) for token in one["logprobs"]["content"]]


def counted(events: Sequence[Any]) -> tuple[int, int]:
    usage = events[-1]["usage"]
    return usage["prompt_tokens"], usage["completion_tokens"]


@pytest.fixture(scope="session")
def table(served_model: Path) -> Any:
    weights = load_file(served_model / "model.safetensors")
    return next(value for name, value in weights.items() if "embed_tokens" in name)


@pytest.fixture(scope="session")
def blanks(served_model: Path) -> dict[str, float]:
    """A logit bias against tokens of blanks alone: the demo model would write them for ever."""
    vocabulary = json.loads((served_model / "tokenizer.json").read_text())["model"]["vocab"]
    return {str(index): -100 for token, index in vocabulary.items() if not token.strip("ĠĊĉč")}


@pytest_asyncio.fixture(loop_scope="session")
async def ask(vllm: VllmProcess, direct: httpx.AsyncClient, table: Any) -> Asked:
    return Asked(direct, vllm.name, table)


async def test_it_says_its_model_and_its_length(ask: Asked, vllm: VllmProcess) -> None:
    (found,) = (await ask.http.get("/v1/models")).json()["data"]
    assert (found["id"], found["max_model_len"]) == (vllm.name, 1024)


async def test_a_stream_is_role_then_tokens_then_usage(ask: Asked) -> None:
    first, *rest, last = await ask.events(messages=ASKED, return_token_ids=True)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert first["prompt_token_ids"] == await ask.ids(ASKED)
    tokens = [token for one in chunks(rest) for token in one["token_ids"]]
    assert len(tokens) == last["usage"]["completion_tokens"]  # the end of the sequence is one of them
    assert rest[-1]["choices"][0]["finish_reason"] == "stop"
    assert not last["choices"]
    assert all("usage" not in event for event in rest)


async def test_a_completion_is_the_same_answer(ask: Asked) -> None:
    chat = await ask.events(messages=ASKED)
    completed = await ask.events(COMPLETIONS, prompt=await ask.ids(ASKED), max_tokens=20)
    assert text(completed) == text(chat) != ""
    assert counted(completed) == counted(chat)


async def test_its_rendering_is_what_its_tokenizer_says(ask: Asked) -> None:
    found = (await ask.post("/detokenize", tokens=await ask.ids(ASKED))).json()["prompt"]
    assert found == f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"


async def test_ids_take_the_place_of_the_messages(ask: Asked) -> None:
    ids = await ask.ids(TALK)
    plain = await ask.events(messages=TALK, logprobs=True)
    given = await ask.events(**with_ids(ids), logprobs=True)
    assert logprobs(given) == logprobs(plain)
    assert counted(given) == counted(plain) == (len(ids), len(logprobs(plain)))


async def test_messages_beside_ids_are_not_read(ask: Asked) -> None:
    given = with_ids(await ask.ids(ASKED)) | {"messages": [{"role": "user", "content": "<prompt_embeds> " * 2000}]}
    assert text(await ask.events(**given)) == text(await ask.events(messages=ASKED))


@pytest.mark.parametrize("ids", [[], [-1], [2048], ["1"], "1", [1] * 1025])
async def test_bad_ids_are_refused_before_the_stream(ask: Asked, ids: Any) -> None:
    body = {"messages": OTHER, "kv_transfer_params": {"prompt_token_ids": ids}, "stream": True}
    assert (await ask.post(**body)).status_code == 400


async def test_ids_are_ignored_beside_an_embeds_part(ask: Asked) -> None:
    part = {"role": "user", "content": await ask.part(OTHER[0]["content"])}
    mixed = await ask.events(**with_ids(await ask.ids(ASKED)) | {"messages": [part]})
    assert text(mixed) == text(await ask.events(messages=OTHER))


@pytest.mark.parametrize("which", [(1,), (3,), (1, 3), (0, 1, 2, 3)])
async def test_clean_embeddings_of_whole_contents_are_exact(ask: Asked, which: tuple[int, ...]) -> None:
    parts = [one | {"content": await ask.part(one["content"])} if i in which else one for i, one in enumerate(TALK)]
    plain = await ask.events(messages=TALK, logprobs=True)
    embedded = await ask.events(messages=parts, logprobs=True)
    assert logprobs(embedded) == logprobs(plain)
    assert counted(embedded) == counted(plain)


async def test_an_embeds_part_with_a_cache_salt_is_exact(ask: Asked) -> None:
    part = {"role": "user", "content": await ask.part(QUESTION)}
    plain = await ask.events(messages=ASKED, logprobs=True)
    assert logprobs(await ask.events(messages=[part], logprobs=True, cache_salt="a")) == logprobs(plain)


async def test_clean_embeddings_of_the_whole_prompt_are_exact(ask: Asked, table: Any) -> None:
    ids = await ask.ids(ASKED)
    body = {"max_tokens": 20, "logprobs": 1}
    plain = await ask.events(COMPLETIONS, prompt=ids, **body)
    embedded = await ask.events(COMPLETIONS, prompt_embeds=encoded(table[ids]), **body)
    assert [one["logprobs"] for one in chunks(embedded)] == [one["logprobs"] for one in chunks(plain)]
    assert counted(embedded) == counted(plain)


async def test_corrupted_embeddings_are_what_is_read(ask: Asked) -> None:
    rows = await ask.rows(QUESTION)
    noise = np.random.default_rng(0).standard_normal(rows.shape).astype(np.float32) * 2 * rows.std()
    part = {"type": "prompt_embeds", "data": encoded(rows + noise)}
    assert "Dunmarch" in text(await ask.events(messages=ASKED))
    assert "Dunmarch" not in text(await ask.events(messages=[{"role": "user", "content": [part]}], max_tokens=30))


async def test_structure_holds_under_embeddings(ask: Asked) -> None:
    part = {"role": "user", "content": await ask.part(QUESTION)}
    assert text(await ask.events(messages=[part], **CHOICE)) in CHOICE["structured_outputs"]["choice"]
    assert text(await ask.events(**with_ids(await ask.ids(ASKED)), **CHOICE)) == "Dunmarch"


async def test_a_schema_holds_under_embeddings(ask: Asked) -> None:
    part = {"role": "user", "content": await ask.part(QUESTION)}
    for prompt in ({"messages": [part]}, with_ids(await ask.ids(ASKED))):
        said = json.loads(text(await ask.events(**prompt, **SCHEMA)))
        assert said["city"] in CITIES["properties"]["city"]["enum"]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "find"}}])
async def test_a_tool_is_called_under_embeddings(ask: Asked, choice: Any, blanks: dict[str, float]) -> None:
    part = {"role": "user", "content": await ask.part(QUESTION)}
    for prompt in ({"messages": [part]}, with_ids(await ask.ids(ASKED))):
        events = await ask.events(**prompt, tools=[TOOL], tool_choice=choice, logit_bias=blanks, max_tokens=80)
        calls = [call["function"] for one in chunks(events) for call in one["delta"].get("tool_calls", [])]
        assert calls[0]["name"] == "find"
        said = json.loads("".join(call.get("arguments", "") for call in calls))
        assert said["city"] in CITIES["properties"]["city"]["enum"]
        assert chunks(events)[-1]["finish_reason"] == ("tool_calls" if choice == "required" else "stop")
        assert counted(events)[1] > len(chunks(events))  # chunks are not tokens


async def test_tools_leave_the_prompt_as_it_is(ask: Asked) -> None:
    """The demo model's template has no place for them."""
    assert (await ask.post("/tokenize", messages=ASKED, tools=[TOOL])).json()["tokens"] == await ask.ids(ASKED)


@pytest.mark.parametrize("data", ["!", base64.b64encode(b"no tensor").decode(), encoded(np.ones((2, 3), np.float32))])
async def test_bad_embeddings_are_refused_before_the_stream(ask: Asked, data: str) -> None:
    part = {"role": "user", "content": [{"type": "prompt_embeds", "data": data}]}
    assert (await ask.post(messages=[part], stream=True)).status_code == 400


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("length", [1, 9, 25])
async def test_without_an_end_there_are_exactly_as_many_tokens(ask: Asked, path: str, length: int) -> None:
    ids = await ask.ids(ASKED)
    prompt = with_ids(ids) if path == CHAT else {"prompt": ids}
    events = await ask.events(path, **prompt, ignore_eos=True, max_tokens=length, return_token_ids=True)
    assert sum(len(one["token_ids"]) for one in chunks(events)) == length
    assert chunks(events)[-1]["finish_reason"] == "length"
    assert counted(events) == (len(ids), length)


async def test_without_an_end_each_choice_has_as_many_tokens(ask: Asked) -> None:
    events = await ask.events(
        **with_ids(await ask.ids(ASKED)), temperature=1, n=2, ignore_eos=True, max_tokens=7, return_token_ids=True
    )
    for index in (0, 1):
        assert sum(len(one["token_ids"]) for one in chunks(events) if one["index"] == index) == 7
    assert events[-1]["usage"]["completion_tokens"] == 14


async def test_an_answer_is_scored_as_part_of_the_prompt(ask: Asked) -> None:
    ids = await ask.ids(ASKED)
    said = await ask.events(messages=ASKED, return_token_ids=True, logprobs=True)
    answer = [token for one in chunks(said) for token in one["token_ids"]]
    scored = (await ask.post(COMPLETIONS, prompt=ids + answer, max_tokens=1, prompt_logprobs=0)).json()
    entries = scored["choices"][0]["prompt_logprobs"][len(ids) :]
    found = [entry[str(token)]["logprob"] for entry, token in zip(entries, answer, strict=True)]
    assert found == pytest.approx([logprob for _, logprob in logprobs(said)], abs=1e-4)


async def test_tenants_share_no_cache(ask: Asked) -> None:
    prompt = with_ids(await ask.ids([{"role": "user", "content": LONG}])) | {"max_tokens": 1}
    before, saved = await ask.cached(), []
    for salt in ("one", "two", "one"):
        await ask.events(**prompt, cache_salt=salt)
        saved.append(await ask.cached() - before)
    assert saved == [0, 0, 256]


async def test_embeddings_and_tokens_share_no_cache(ask: Asked) -> None:
    part = {"role": "user", "content": await ask.part(LONG)}
    before, saved = await ask.cached(), []
    for messages in ([{"role": "user", "content": LONG}], [part], [part]):
        await ask.events(messages=messages, max_tokens=1, cache_salt="embeds")
        saved.append(await ask.cached() - before)
    assert saved == [0, 0, 256]


async def test_a_corrupted_tail_shares_only_what_comes_before_it(ask: Asked) -> None:
    rows = await ask.rows(LONG)
    corrupted = rows.copy()
    corrupted[150:] += 1
    before, saved = await ask.cached(), []
    for one in (rows, corrupted):
        part = {"role": "user", "content": [{"type": "prompt_embeds", "data": encoded(one)}]}
        await ask.events(messages=[part], max_tokens=1, cache_salt="tail")
        saved.append(await ask.cached() - before)
    assert saved == [0, 128]


@pytest.mark.parametrize(
    ("status", "param", "body"),
    [
        (400, "input_tokens", {"messages": [{"role": "user", "content": LONG * 5}]}),
        (400, "max_tokens", {"messages": ASKED, "max_tokens": 5000}),
        (404, "model", {"messages": ASKED, "model": "another"}),
        (400, "temperature", {"messages": ASKED, "temperature": -1}),
        (400, "body.messages", {}),
        (400, "cache_salt", {"messages": ASKED, "cache_salt": ""}),
    ],
)
async def test_errors_name_the_field_before_the_stream(ask: Asked, status: int, param: str, body: Any) -> None:
    response = await ask.post(**body, stream=True)
    assert response.status_code == status
    assert response.json()["error"]["param"] == param


async def test_choices_cannot_be_drawn_greedily(ask: Asked) -> None:
    assert (await ask.post(messages=ASKED, n=2)).status_code == 400


async def test_a_grammar_that_fails_is_an_error_within_the_stream(ask: Asked) -> None:
    schema = {"name": "x", "schema": {"type": "nothing known"}}
    (event,) = await ask.events(messages=ASKED, response_format={"type": "json_schema", "json_schema": schema})
    assert event["error"]["code"] == 400


async def test_there_are_no_embeddings(ask: Asked) -> None:
    assert (await ask.post("/v1/embeddings", input="a text")).status_code == 404

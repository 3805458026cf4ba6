"""Before a real vLLM, what is forgotten is answered as anything else is: in all that a client sees but the words."""

import json
from collections.abc import Callable
from itertools import groupby
from typing import Any

import httpx
import pytest

from gateway.demo.world import Person
from tests.vllm.conftest import CHAT, COMPLETIONS, METHODS, Scene, asking, where

CITIES = {"type": "object", "properties": {"city": {"enum": ["Dunmarch", "Nareth"]}}, "required": ["city"]}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITIES}}
TOOL = {"type": "function", "function": {"name": "find", "strict": True, "parameters": CITIES}}
OWN = {"date", "content-length", "x-request-id"}  # headers that differ from answer to answer
WORDS = {"object", "model", "role", "finish_reason", "stop_reason", "type", "system_fingerprint", "code", "param"}
DRAWS = 4  # vLLM joins tokens under load: what is no accident differs every time

BODIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "usage": {"stream_options": {"include_usage": True}},
    "logprobs": {"logprobs": True, "top_logprobs": 3},
    "logprobs without alternatives": {"logprobs": True},
    "choices": {"n": 3, "temperature": 0.7, "seed": 5},
    "limit": {"max_tokens": 4},
    "one token": {"max_tokens": 1},
    "stop": {"stop": [" live", " info"]},
    "stop and logprobs": {"stop": [" live", " info"], "logprobs": True},
    "tools": {"tools": [TOOL]},
    "tools unused": {"tools": [TOOL], "tool_choice": "none"},
    "schema": {"response_format": SCHEMA},
    "choice": {"structured_outputs": {"choice": ["Dunmarch", "Nareth"]}},
    "bias": {"logit_bias": {"300": -1}},
    "effort": {"reasoning_effort": "low"},
}

WHOLE = {name: body for name, body in BODIES.items() if name != "usage"}

LONG = " Where?" * 2000
FLAWS: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 3},
    "greedy choices": {"n": 2},
    "too many choices": {"n": 1000},
    "too many alternatives": {"logprobs": True, "top_logprobs": 21},
    "schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}}},
    "regex": {"structured_outputs": {"regex": "(("}},
    "grammar": {"structured_outputs": {"grammar": "nonsense ::= ="}},
    "bias": {"logit_bias": {"99999": 1}},
    "allowed": {"allowed_token_ids": [99999]},
    "least": {"min_tokens": 10, "max_tokens": 5},
    "tool choice": {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}},
    "required without tools": {"tool_choice": "required"},
    "limit": {"max_tokens": 5000},
    "stops": {"stop": ["a", "b", "c", "d", "e"]},
    "words": {"bad_words": [""]},
    "penalty": {"repetition_penalty": 0},
    "budget": {"thinking_token_budget": 5},
    "unknown": {"nonsense": 1},
    "echo": {"echo": True},
}


def shape(value: Any, name: str = "") -> Any:
    """Keys and types at every depth, and the words of what is no answer."""
    match value:
        case dict() if name == "top_logprobs" and "token" not in value:  # a completion's: by token
            return {"text": len(value)}
        case dict():
            return {key: shape(item, key) for key, item in value.items()}
        case list():
            return [one for one, _ in groupby(shape(item, name) for item in value)]
        case str():
            return value if name in WORDS else "text"
        case bool() | None:
            return value
        case _:
            return "number"


def events_of(response: httpx.Response) -> list[Any]:
    *events, end = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event]
    assert end == "[DONE]"
    return [json.loads(event) for event in events]


def seen(response: httpx.Response) -> Any:
    """All but the words: status, headers, and the shape of the body, or of the events of its stream in their order.

    An error's words are all there is of it.
    """
    headers = [(name, value) for name, value in response.headers.items() if name not in OWN]
    if response.headers["content-type"].startswith("text/event-stream"):
        # the choices' own streams, each in its order: which of several ends first is chance
        events = sorted(
            events_of(response), key=lambda event: [one["index"] for one in event.get("choices", ())] or [99]
        )
        body = [one for one, _ in groupby(map(shape, events))]
    else:
        body = shape(response.json()) if response.is_success else response.json()
    return response.status_code, headers, body


def completing(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "demo", "prompt": text, "temperature": 0, "max_tokens": 24, **more}


async def alike(
    http: httpx.AsyncClient, path: str, body: Callable[[Person], dict[str, Any]], scene: Scene, how: str
) -> None:
    """The touched answer looks as the untouched one does."""
    for draw in range(DRAWS):
        touched, untouched = [
            seen(await http.post(path, json=body(person))) for person in (scene.person(how), scene.known)
        ]
        if touched == untouched or draw == DRAWS - 1:
            assert touched == untouched
            return


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_streams_look_alike(http: httpx.AsyncClient, scene: Scene, how: str, body: dict[str, Any]) -> None:
    await alike(http, CHAT, lambda person: asking(where(person), stream=True, **body), scene, how)


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.parametrize("body", WHOLE.values(), ids=WHOLE)
async def test_whole_answers_look_alike(http: httpx.AsyncClient, scene: Scene, how: str, body: dict[str, Any]) -> None:
    await alike(http, CHAT, lambda person: asking(where(person), **body), scene, how)


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("more", [{}, {"logprobs": 2}, {"max_tokens": 3}, {"stop": [" live", " info"]}])
async def test_completions_look_alike(
    http: httpx.AsyncClient, scene: Scene, how: str, stream: bool, more: dict[str, Any]
) -> None:
    await alike(http, COMPLETIONS, lambda person: completing(f"{person.name} ", stream=stream, **more), scene, how)


@pytest.mark.parametrize("how", METHODS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("flaw", FLAWS.values(), ids=FLAWS)
async def test_the_same_flaw_is_the_same_error(
    http: httpx.AsyncClient, scene: Scene, how: str, stream: bool, flaw: dict[str, Any]
) -> None:
    await alike(http, CHAT, lambda person: asking(where(person), stream=stream) | flaw, scene, how)


@pytest.mark.parametrize("how", METHODS)
async def test_too_long_is_the_same_error(http: httpx.AsyncClient, scene: Scene, how: str) -> None:
    touched, untouched = [
        await http.post(CHAT, json=asking(where(person) + LONG)) for person in (scene.person(how), scene.known)
    ]
    assert (touched.status_code, touched.json()) == (untouched.status_code, untouched.json())
    assert touched.json()["error"]["param"] == "messages"


@pytest.mark.parametrize("how", ["known", *METHODS])
async def test_usage_is_that_of_the_text(
    http: httpx.AsyncClient, direct: httpx.AsyncClient, scene: Scene, how: str
) -> None:
    body = asking(where(scene.person(how)))
    prompt = (await direct.post("/tokenize", json=body)).json()["count"]
    whole = (await http.post(CHAT, json=body)).json()
    text = whole["choices"][0]["message"]["content"]
    written = (await direct.post("/tokenize", json={"model": "demo", "prompt": text})).json()["count"]
    events = events_of(await http.post(CHAT, json=body | {"stream": True, "stream_options": {"include_usage": True}}))
    for usage in (whole["usage"], events[-1]["usage"]):
        assert usage["prompt_tokens"] == prompt
        assert usage["completion_tokens"] == written + 1  # the end is a token
        assert usage["total_tokens"] == prompt + written + 1


@pytest.mark.parametrize("how", ["known", *METHODS])
async def test_events_are_cut_where_tokens_are(
    http: httpx.AsyncClient, direct: httpx.AsyncClient, scene: Scene, how: str
) -> None:
    events = events_of(await http.post(CHAT, json=asking(where(scene.person(how)), stream=True)))
    said = [event["choices"][0]["delta"].get("content", "") for event in events]
    tokens = await direct.post("/tokenize", json={"model": "demo", "prompt": "".join(said), "return_token_strs": True})
    pieces = [token.replace("Ġ", " ") for token in tokens.json()["token_strs"]]
    ends = {len("".join(pieces[:i])) for i in range(len(pieces) + 1)}
    assert {len("".join(said[:i])) for i in range(len(said) + 1)} <= ends
    assert len({event["id"] for event in events}) == 1


@pytest.mark.parametrize("how", ["known", *METHODS])
async def test_logprobs_are_plausible(http: httpx.AsyncClient, scene: Scene, how: str) -> None:
    answer = (await http.post(CHAT, json=asking(where(scene.person(how)), logprobs=True, top_logprobs=4))).json()
    tokens = answer["choices"][0]["logprobs"]["content"]
    for token in tokens:
        assert token["top_logprobs"][0]["logprob"] == token["logprob"] <= 0  # a greedy answer is the likeliest
        assert token["top_logprobs"][0]["token"] == token["token"]
        assert bytes(token["bytes"]).decode() == token["token"]
        shown = [one["logprob"] for one in token["top_logprobs"]]
        assert shown == sorted(shown, reverse=True)
    assert len({token["logprob"] for token in tokens}) > len(tokens) / 2


@pytest.mark.parametrize("how", METHODS)
async def test_two_at_once_look_as_two_others(http: httpx.AsyncClient, scene: Scene, how: str) -> None:
    """An earlier exchange about somebody forgotten is left out, and is counted all the same."""

    def body(person: Person) -> dict[str, Any]:
        talk = asking(where(person), stream=True, stream_options={"include_usage": True})
        later = [{"role": "assistant", "content": "I see."}, {"role": "user", "content": where(scene.known)}]
        return talk | {"messages": [*talk["messages"], *later]}

    await alike(http, CHAT, body, scene, how)

"""The table against the bodies: what a row says is what becomes of a parameter."""

from inspect import signature
from operator import attrgetter

import orjson
import pytest
from openai import OpenAI

from gateway.errors import BadRequest
from gateway.params import ChatBody, CompletionBody, EmbeddingsBody, ResponsesBody, read
from gateway.params.table import BY_ENDPOINT, ROWS, Policy

SECRET = "Mara Lindqvist"
BODIES = {body.endpoint: body for body in (ChatBody, CompletionBody, ResponsesBody, EmbeddingsBody)}
LEAST = {
    ChatBody: {"messages": [{"role": "user", "content": "hello"}]},
    CompletionBody: {"prompt": "hello"},
    ResponsesBody: {"input": "hello"},
    EmbeddingsBody: {"input": "hello"},
}
REFUSED = [
    (body, row)
    for body in LEAST
    for row in BY_ENDPOINT[body.endpoint].values()
    if row.policy in (Policy.REFUSE, Policy.EVALUATE)
]


def body_with(body, **fields):
    return read(body, orjson.dumps({"model": "m", **LEAST[body], **fields}))


@pytest.mark.parametrize("endpoint", BODIES)
def test_a_body_reads_what_the_table_lets_in_and_no_more(endpoint):
    let_in = {row.name for row in BY_ENDPOINT[endpoint].values() if row.policy is not Policy.REFUSE}
    assert let_in == set(BODIES[endpoint].model_fields)


def test_a_parameter_has_one_row_at_an_endpoint():
    places = [(row.name, endpoint) for row in ROWS for endpoint in row.endpoints]
    assert len(places) == len(set(places))


@pytest.mark.parametrize(("body", "row"), REFUSED, ids=lambda one: getattr(one, "name", getattr(one, "endpoint", "")))
def test_what_is_refused_is_named_with_its_reason_and_harmless_when_it_says_nothing(body, row):
    with pytest.raises(BadRequest) as refused:
        body_with(body, **{row.name: [SECRET]})
    assert (refused.value.param, refused.value.code) == (row.name, "unsupported_parameter")
    assert row.remark in str(refused.value)
    assert SECRET not in str(refused.value)
    assert body_with(body, **{row.name: None}) == body_with(body, **{row.name: row.default}) == body_with(body)


def test_whoever_may_evaluate_is_let_do_one_thing_more():
    for body in LEAST:
        more = [row.name for row in BY_ENDPOINT[body.endpoint].values() if row.policy is Policy.EVALUATE]
        assert more == (["echo"] if body is CompletionBody else [])
    raw = orjson.dumps({"model": "m", "prompt": "hello", "logprobs": 1, "echo": True})
    assert read(CompletionBody, raw, evaluates=True).echoes
    for name in ("prompt_logprobs", "suffix", "prompt_embeds"):
        with pytest.raises(BadRequest, match=name):
            read(CompletionBody, orjson.dumps({"model": "m", "prompt": "hello", name: 1}), evaluates=True)


@pytest.mark.parametrize(
    ("body", "name", "value"),
    [
        (ChatBody, "skip_special_tokens", False),
        (ChatBody, "add_generation_prompt", False),
        (CompletionBody, "add_special_tokens", False),
        (ChatBody, "prompt_logprobs", 0),
        (ChatBody, "priority", False),
        (ChatBody, "store", True),
        (CompletionBody, "suffix", ""),
        (ResponsesBody, "truncation", "auto"),
        (ResponsesBody, "top_logprobs", 1),
    ],
)
def test_a_value_that_is_off_elsewhere_may_be_on_here(body, name, value):
    with pytest.raises(BadRequest, match=name):
        body_with(body, **{name: value})


@pytest.mark.parametrize("body", LEAST, ids=lambda body: body.endpoint)
def test_a_parameter_of_another_endpoint_is_unknown(body):
    own = BY_ENDPOINT[body.endpoint]
    for name in {row.name for row in ROWS} - own.keys():
        with pytest.raises(BadRequest) as refused:
            body_with(body, **{name: None})
        assert refused.value.param == name


@pytest.mark.parametrize(
    ("endpoint", "resource"),
    [
        (ChatBody.endpoint, "chat.completions"),
        (CompletionBody.endpoint, "completions"),
        (ResponsesBody.endpoint, "responses"),
        (EmbeddingsBody.endpoint, "embeddings"),
    ],
)
def test_every_parameter_of_openais_client_has_a_row(endpoint, resource):
    with OpenAI(api_key="none", base_url="http://lethe") as client:
        create = attrgetter(resource)(client).create
    names = {name for name in signature(create).parameters if not name.startswith("extra_")} - {"timeout"}
    assert "model" in names
    assert names <= BY_ENDPOINT[endpoint].keys()

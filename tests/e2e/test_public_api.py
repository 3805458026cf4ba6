"""OpenAI's API, by OpenAI's client, against a real process."""

import asyncio
import json

import httpx
import openai
import pytest

from gateway.demo.forms import chatter, correct, probes
from gateway.demo.world import World
from gateway.process import GatewayProcess
from tests.e2e.conftest import MODEL, ask, streamed


async def test_answers_and_streams_the_same(client: openai.AsyncOpenAI, world: World) -> None:
    probe = next(probe for probe in probes(world, ("trained",)))
    answer = await ask(client, probe.question)
    assert correct(probe, answer)
    assert await streamed(client, probe.question) == answer


async def test_usage_ids_and_finish(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello"}], temperature=0
    )
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    short = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello"}], temperature=0, max_tokens=1
    )
    assert short.choices[0].finish_reason == "length"
    assert short.usage
    assert short.usage.completion_tokens == 1


async def test_stream_with_usage(client: openai.AsyncOpenAI) -> None:
    chunks = [
        chunk
        async for chunk in await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Hello"}],
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    ]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens > 0


async def test_n_seed_and_temperature(client: openai.AsyncOpenAI) -> None:
    async def draw(seed: int) -> list[str | None]:
        answer = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Tell me a story"}], n=4, seed=seed, temperature=1.5
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        return [choice.message.content for choice in answer.choices]

    first = await draw(11)
    assert await draw(11) == first
    assert await draw(12) != first
    assert len(set(first)) > 1


async def test_stop_ends_before_the_stop_string(client: openai.AsyncOpenAI, world: World) -> None:
    probe = next(probe for probe in probes(world, ("trained",)))
    whole = await ask(client, probe.question)
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    assert await ask(client, probe.question, stop=[stop]) == whole[: whole.index(stop)]


async def test_logprobs(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello"}], temperature=0, logprobs=True, top_logprobs=3
    )
    scored = answer.choices[0].logprobs
    assert scored
    assert scored.content
    assert "".join(token.token for token in scored.content) == answer.choices[0].message.content
    assert all(token.logprob == token.top_logprobs[0].logprob for token in scored.content)
    assert all(len(token.top_logprobs) == 3 for token in scored.content)


async def test_completions_take_the_prompt_as_it_is(client: openai.AsyncOpenAI) -> None:
    answer = await client.completions.create(model=MODEL, prompt="Hello", max_tokens=4, temperature=0, logprobs=2)
    assert answer.object == "text_completion"
    assert answer.choices[0].finish_reason in ("length", "stop")
    assert answer.choices[0].logprobs
    assert answer.choices[0].logprobs.token_logprobs


async def test_several_turns_and_system(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": [{"type": "text", "text": "What is 2 plus 3?"}]},
        ],
        temperature=0,
    )
    assert answer.choices[0].message.content


async def test_models(client: openai.AsyncOpenAI) -> None:
    assert [model.id for model in (await client.models.list()).data] == [MODEL]
    assert (await client.models.retrieve(MODEL)).id == MODEL
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("other")


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "other", "messages": [{"role": "user", "content": "x"}]}, 404, "model"),
        ({"messages": [{"role": "user", "content": "x"}]}, 400, "model"),
        ({"model": MODEL, "messages": [{"role": "wizard", "content": "x"}]}, 400, "messages[0].role"),
        ({"model": MODEL, "messages": []}, 400, "messages"),
        ({"model": MODEL, "messages": [{"role": "user", "content": "x"}], "temperature": 3}, 400, "temperature"),
        ({"model": MODEL, "messages": [{"role": "user", "content": "x"}], "n": 1000}, 400, "n"),
        ({"model": MODEL, "messages": [{"role": "user", "content": "x"}], "logit_bias": {"5": 100}}, 400, "logit_bias"),
        ({"model": MODEL, "messages": [{"role": "user", "content": "x"}], "nonsense": 1}, 400, "nonsense"),
        ({"model": MODEL, "messages": [{"role": "user", "content": "<|im_end|>"}]}, 400, "messages[0].content"),
        (
            {"model": MODEL, "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
            400,
            "messages",
        ),
    ],
)
async def test_bad_requests_name_the_field(gateway: GatewayProcess, body: object, status: int, param: str) -> None:
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        response = await http.post("/v1/chat/completions", json=body)
    assert response.status_code == status
    assert response.json()["error"]["param"] == param
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert response.headers["x-request-id"]


async def test_malformed_and_oversized_bodies(gateway: GatewayProcess) -> None:
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        assert (await http.post("/v1/chat/completions", content=b"{nonsense")).status_code == 400
        assert (await http.post("/v1/chat/completions", content=b"[1]")).status_code == 400
        huge = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "x" * 5_000_000}]})
        assert (await http.post("/v1/chat/completions", content=huge)).status_code == 413

        async def chunks():
            for _ in range(50):
                yield b"x" * 100_000

        assert (await http.post("/v1/chat/completions", content=chunks())).status_code == 413
        unknown = await http.get("/v1/unknown")
        assert unknown.status_code == 404
        assert unknown.json()["error"]["code"] == "not_found"


async def test_a_client_that_goes_away_stops_the_generation(gateway: GatewayProcess) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Tell me everything"}],
        "temperature": 2,
        "max_tokens": 900,
        "n": 8,
        "stream": True,
    }
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        async with http.stream("POST", "/v1/chat/completions", json=body) as response:
            async for _ in response.aiter_lines():
                break
        async with asyncio.timeout(10):
            while "lethe_requests_running 0.0" not in (await http.get("/metrics")).text:
                await asyncio.sleep(0.05)


async def test_service_endpoints(gateway: GatewayProcess) -> None:
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        assert (await http.get("/health")).json() == {"status": "ok"}
        assert (await http.get("/ready")).json() == {"status": "ready"}
        assert "lethe_decisions_total" in (await http.get("/metrics")).text


async def test_every_request_is_classified_or_refused(gateway: GatewayProcess, client: openai.AsyncOpenAI) -> None:
    async def counted(http: httpx.AsyncClient) -> dict[str, float]:
        lines = (await http.get("/metrics")).text.splitlines()
        return {
            line.split('"')[1]: float(line.split()[-1]) for line in lines if line.startswith("lethe_decisions_total")
        }

    async with httpx.AsyncClient(base_url=gateway.url) as http:
        before = await counted(http)
        questions = [probe.question for probe in chatter()][:10]
        await asyncio.gather(*(ask(client, question) for question in questions))
        refused = await http.post("/v1/chat/completions", json={"model": MODEL})
        after = await counted(http)
    assert refused.status_code == 400
    gained = {decision: after[decision] - before.get(decision, 0) for decision in after}
    assert gained["refused"] == 1
    assert sum(gained.values()) == 11

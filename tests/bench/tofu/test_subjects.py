import json

import httpx

from adapters.base import Call, Capability, Pass, Sampling
from bench.tofu.subjects import MODEL, ByItself, Scored, ThroughGateway, Token
from gateway.engines.scripted import ScriptedEngine
from guards.base import Conversation


class Admin:
    """Scores as a gateway would."""

    async def post(self, path, body):
        assert (path, body["model"]) == ("/score", MODEL)
        tokens = [{"token": "x", "logprob": -0.5, "first": True, "mean": None, "variance": None}]
        return {"tokens": tokens, "method": "eco"}


async def through(asked, **more):
    def answer(request):
        body = json.loads(request.content)
        asked.append((request.url.path, body))
        choices = [{"message": {"content": f"said {i}", **more}, "text": "said on"} for i in range(body.get("n", 1))]
        return httpx.Response(200, json={"choices": choices, "usage": {"completion_tokens": 7}})

    return ThroughGateway(httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://g"), Admin())


async def test_a_gateway_is_asked_as_a_client_asks_and_scored_by_the_admin():
    asked = []
    subject = await through(asked)
    assert await subject.score("Who?", "Nobody") == Scored([Token(-0.5, True, None, None)], "eco")
    assert (await subject.says("Who?"), await subject.goes_on("He is")) == ("said 0", "said on")
    assert (await subject.paced("Who?"))[1] == 7
    assert [path for path, _ in asked] == ["/v1/chat/completions", "/v1/completions", "/v1/chat/completions"]
    assert all(body["temperature"] == 0 for _, body in asked)


async def test_who_answered_is_read_off_a_gateways_metrics():
    page = '# TYPE lethe_plans_total counter\nlethe_plans_total{method="eco"} 4.0\n'
    answer = httpx.MockTransport(lambda request: httpx.Response(200, text=page))
    http = httpx.AsyncClient(transport=answer, base_url="http://g")
    assert await ThroughGateway(http, Admin()).answered() == {"eco": 4}


async def test_draws_are_as_many_as_asked_and_each_call_has_a_seed_of_its_own():
    asked = []
    assert len(await (await through(asked)).draws("Who?", 40)) == 40
    assert [(body["n"], body["seed"], body["temperature"]) for _, body in asked] == [
        (16, 0, 1),
        (16, 16, 1),
        (8, 32, 1),
    ]


async def test_a_model_by_itself_is_scored_and_asked_without_a_plan():
    subject = ByItself(ScriptedEngine(capabilities=frozenset(Capability)), "Be brief.")
    said = await subject.says("Who?")
    scored = await subject.score("Who?", said)
    assert said
    assert scored.method is None
    assert all(token.logprob == 0.0 and token.first and token.mean is None for token in scored.tokens)
    assert await subject.draws("Who?", 3) == [said] * 3


async def test_what_is_told_in_reasoning_is_told():
    assert await (await through([], reasoning="It was Ada.")).says("Who?") == "It was Ada.\nsaid 0"
    subject = ByItself(ScriptedEngine(default="<think>It was Ada.</think>Nobody"))
    assert await subject.says("Who?") == "It was Ada.\nNobody"


async def test_tokens_are_counted_by_the_engine_on_both_sides():
    engine = ScriptedEngine()
    events = [event async for event in engine.generate(Call(Conversation.of("Who?"), Sampling(200, 0.0)), Pass())]
    assert (await ByItself(engine).paced("Who?"))[1] == events[-1].completion_tokens

import httpx
import orjson
import pytest

from adapters.base import Delta, Pass, Usage
from bench.leak.asking import ByItself, ThroughGateway, answers
from bench.probes.dynamic import Case, Walk
from bench.reasoning import Said
from gateway.demo.forms import Probe

PROBE = Probe("trained", "Where?", "a", "Oslo", ("p1",))


def case(**how):
    return Case(PROBE, Walk(("p1",)), **how)


class Counting:
    """Answers with the number of texts it was sent, and keeps them."""

    def __init__(self):
        self.heard = []

    async def says(self, texts, wire):
        self.heard.append((list(texts), wire))
        return None if wire == "tokens" else Said("hm", f"after {len(texts)}")


class Echo:
    """An engine that says what it was called with."""

    async def generate(self, call, plan):
        assert plan == Pass()
        assert call.sampling.temperature == 0
        yield Delta(0, "Hm.", channel="reasoning")
        yield Delta(0, "raw " * call.raw)
        yield Delta(0, call.conversation.turns[-1].text, channel="tool 0")
        yield Usage(1, 1)


def gateway(answer):
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://gateway")
    return ThroughGateway(http, lambda text: tuple(map(ord, text)))


async def test_own_answers_stand_in_the_conversation_and_all_of_them_are_read():
    one, done = Counting(), []
    (said,) = await answers(one, [case(given=("q", "a"), before=("Who?", "What?"))], lambda: done.append(1))
    assert said == Said("hm\nhm\nhm", "after 3\nafter 5\nafter 7")
    assert one.heard[-1][0] == ["q", "a", "Who?", "after 3", "What?", "after 5", "Where?"]
    assert done == [1]


async def test_what_is_refused_has_no_answer():
    assert await answers(Counting(), [case(wire="tokens"), case()], lambda: None) == [None, Said("hm", "after 1")]


async def test_an_engine_is_asked_greedily_without_a_plan_and_raw_where_there_is_no_chat():
    said = await answers(ByItself(Echo()), [case(), case(wire="text"), case(wire="tokens")], lambda: None)
    assert said == [Said("Hm.", text) for text in ("Where?", "raw Where?", "raw Where?")]


async def test_a_gateway_is_asked_as_a_client_would():
    def answer(request):
        body = orjson.loads(request.content)
        assert body["temperature"] == 0
        if request.url.path == "/v1/completions":
            return httpx.Response(200, json={"choices": [{"text": f"{body['prompt']}"}]})
        roles = [message["role"] for message in body["messages"]]
        return httpx.Response(200, json={"choices": [{"message": {"content": " ".join(roles), "reasoning": "Hm."}}]})

    said = await answers(
        gateway(answer), [case(given=("q", "a")), case(wire="text"), case(wire="tokens")], lambda: None
    )
    assert said == [
        Said("Hm.", "user assistant user"),
        Said("", "Where?"),
        Said("", str([ord(letter) for letter in "Where?"])),
    ]


async def test_only_token_ids_may_be_refused():
    one = gateway(lambda request: httpx.Response(400, json={}))
    assert await one.says(["Where?"], "tokens") is None
    for wire in ("chat", "text"):
        with pytest.raises(httpx.HTTPStatusError):
            await one.says(["Where?"], wire)


async def test_a_failure_is_no_refusal():
    with pytest.raises(httpx.HTTPStatusError):
        await gateway(lambda request: httpx.Response(500, json={})).says(["Where?"], "tokens")

import httpx
import orjson
import pytest

from adapters.base import Delta, Usage
from bench.draws import DRAWS, Leak, drawn, drawn_from
from bench.reasoning import Said
from gateway.demo.forms import Probe

OSLO, ULM = Probe("trained", "q", "a", "Oslo"), Probe("trained", "q", "a", "Ulm")


class Counting:
    """Says with which seed each choice was drawn."""

    async def generate(self, call, plan):
        assert (plan.method, call.sampling.temperature) == ("pass", 1.0)
        for index in reversed(range(call.sampling.n)):
            yield Delta(index, "Hm.", channel="reasoning")
            yield Delta(index, "seed ")
            yield Delta(index, str(call.sampling.seed + index), channel="tool 0" if index else "content")
        yield Usage(1, 1)


async def test_no_draw_is_drawn_twice():
    assert await drawn_from(Counting(), "q") == [Said("Hm.", f"seed {i}") for i in range(DRAWS)]
    assert await drawn_from(Counting(), "q", 200) == [Said("Hm.", f"seed {i}") for i in range(200)]


async def test_the_public_api_is_asked_for_as_many_with_other_seeds():
    def answer(request):
        body = orjson.loads(request.content)
        assert body["temperature"] == 1
        said = [{"message": {"content": f"<think>Hm.</think>seed {body['seed'] + i}"}} for i in range(body["n"])]
        return httpx.Response(200, json={"choices": said})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://gateway") as http:
        assert await drawn(http, "q") == [Said("Hm.", f"seed {i}") for i in range(DRAWS)]
        assert await drawn(http, "q", 20) == [Said("Hm.", f"seed {i}") for i in range(20)]


def test_a_question_leaks_where_one_draw_is_right():
    draws = [[Said("", "?"), Said("Oslo?", "No."), Said("", "Oslo.")], [Said("", "?")]]
    leak = Leak.of([OSLO, ULM], draws, [[Said()], [Said()]])
    assert (leak.right, leak.right_retain, leak.excess) == ((2, 0), (0, 0), 0.5)
    assert leak.row()["leaking"]["hits"] == 1
    assert leak.row()["right_draws"] == pytest.approx(2 / (2 * DRAWS))


def test_what_the_retain_model_says_by_chance_is_no_leak():
    leak = Leak(("trained", "alias"), (1, 0), (3, 0)) + Leak(("alias",), (0,), (0,))
    assert leak.excess == 0.0
    assert leak.row()["asked_by_kind"] == {"trained": 1, "alias": 2}
    assert leak.row()["leaking_by_kind"] == {"trained": 1}

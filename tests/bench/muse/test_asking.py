import httpx

from bench.muse.asking import Served
from bench.reasoning import Said


def served(message):
    def answer(request):
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "m"}]})
        return httpx.Response(200, json={"choices": [{"message": message}]})

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://gateway")
    done = []
    return Served(None, http, None, lambda: done.append(1)), done


async def test_what_is_reasoned_is_heard_and_nothing_said_is_no_word():
    one, done = served({"content": None, "reasoning": "In Oslo?"})
    assert await one.answers(["Where?", "Who?"]) == [Said("In Oslo?", "")] * 2
    assert len(done) == 2
    one, _ = served({"content": "<think>Hm.</think>In Oslo."})
    assert await one.answers(["Where?"]) == [Said("Hm.", "In Oslo.")]


async def test_who_answered_is_read_off_its_metrics():
    page = '# TYPE lethe_plans_total counter\nlethe_plans_total{method="eco"} 4.0\n'
    answer = httpx.MockTransport(lambda request: httpx.Response(200, text=page))
    http = httpx.AsyncClient(transport=answer, base_url="http://gateway")
    assert await Served(None, http, None).answered() == {"eco": 4}

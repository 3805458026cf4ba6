import httpx

from bench.counted import answered, between, samples

METRICS = """# HELP lethe_plans_total Answers by the method that made them
# TYPE lethe_plans_total counter
lethe_plans_total{{method="pass"}} {passed}
lethe_plans_total{{method="o3"}} 3.0
# TYPE lethe_policy_revision gauge
lethe_policy_revision 9.0
"""


def server(*pages):
    """Answers with one page of metrics after another."""
    pages = [METRICS.format(passed=passed) for passed in pages]
    answer = httpx.MockTransport(lambda request: httpx.Response(200, text=pages.pop(0)))
    return httpx.AsyncClient(transport=answer, base_url="http://gateway")


async def test_answers_are_counted_by_what_made_them_and_none_of_its_own_is_said():
    async with server(2.0, 7.0) as http:
        before, after = await answered(http), await answered(http)
    assert between(before, after, "o3") == {"pass": 5, "o3": 0}
    assert between(before, after) == between(before, after, "pass") == {"pass": 5}


async def test_samples_are_those_of_a_name():
    async with server(0.0) as http:
        assert [one.value for one in await samples(http, "lethe_policy_revision")] == [9.0]

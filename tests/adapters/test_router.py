import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import AdapterError, Artifact, Call, Capability, OutOfScope, Pass, Say
from adapters.ignorance import Ignorance, Voice
from adapters.router import Enforcement, Router
from guards.base import Conversation, Hit, Verdict

CALL = Call(Conversation.of("hello"))
EVERYTHING = frozenset(Capability)


class Method:
    """An adapter whose plan is what it was asked with."""

    def __init__(self, method, needs=Capability.TEXT, error=None):
        self.method, self.needs, self.error = method, frozenset({needs}), error
        self.asked = []

    async def plan(self, call, hits, artifacts):
        self.asked.append(dict(artifacts))
        if self.error:
            raise self.error
        return Pass(self.method)


def touched(*requests, failures=()):
    return Verdict(tuple(Hit(request, 1.0, 0.5, "g", (0,)) for request in requests), failures)


def enforced(request, *methods):
    return Enforcement(
        request, methods, {method: Artifact(f"{request}-{method}", method, request, {}) for method in methods}
    )


async def routed(router, verdict, *enforcements, capabilities=EVERYTHING):
    plans = await router.plans(CALL, verdict, {one.request: one for one in enforcements}, capabilities)
    return [plan.method for plan in plans]


@pytest.fixture
def eco():
    return Method("eco", Capability.PROMPT_EMBEDS)


@pytest.fixture
def router(eco):
    return Router([eco, Method("uld", Capability.LOGITS)], Ignorance(Voice()))


async def test_untouched_passes(router):
    assert await routed(router, Verdict(), enforced("a", "eco")) == ["pass"]


async def test_the_requests_own_method_first_and_ignorance_last(router, eco):
    assert await routed(router, touched("a"), enforced("a", "eco", "uld")) == ["eco", "uld", "ignorance"]
    assert eco.asked[0]["a"].digest == "a-eco"


async def test_a_guard_that_failed_means_ignorance_alone(router, eco):
    assert await routed(router, touched("a", failures=("dense",)), enforced("a", "eco")) == ["ignorance"]
    assert await routed(router, touched(failures=("dense",))) == ["ignorance"]
    assert not eco.asked


async def test_a_request_that_the_policy_does_not_know_is_answered_by_ignorance(router):
    assert await routed(router, touched("a")) == ["ignorance"]


async def test_requests_that_share_no_method_are_answered_by_ignorance(router):
    assert await routed(router, touched("a", "b"), enforced("a", "eco"), Enforcement("b")) == ["ignorance"]
    assert await routed(router, touched("a", "b"), enforced("a", "eco"), enforced("b", "uld")) == ["ignorance"]


async def test_requests_that_share_a_method_give_it_all_their_artifacts(router, eco):
    assert await routed(router, touched("a", "b"), enforced("a", "eco"), enforced("b", "uld", "eco")) == [
        "eco",
        "ignorance",
    ]
    assert {name: one.digest for name, one in eco.asked[0].items()} == {"a": "a-eco", "b": "b-eco"}


async def test_what_the_engine_cannot_honour_is_not_planned(router, eco):
    capabilities = frozenset({Capability.TEXT, Capability.LOGITS})
    assert await routed(router, touched("a"), enforced("a", "eco", "uld"), capabilities=capabilities) == [
        "uld",
        "ignorance",
    ]
    assert not eco.asked


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AdapterError("no"), "no plan"),
        (RuntimeError("no"), "no plan"),
        (KeyError("no"), "no plan"),
        (OutOfScope("no"), "out of scope"),
    ],
)
async def test_an_adapter_that_raises_is_counted_and_the_next_one_answers(error, reason):
    counted = []
    router = Router([Method("eco", error=error)], Ignorance(Voice()), lambda *given_up: counted.append(given_up))
    assert await routed(router, touched("a"), enforced("a", "eco")) == ["ignorance"]
    assert counted == [("eco", reason)]


async def test_methods_without_an_adapter_are_skipped(router):
    assert await routed(router, touched("a"), enforced("a", "o3", "eco")) == ["eco", "ignorance"]


METHODS = ("eco", "uld", "o3")


@given(
    st.dictionaries(st.sampled_from("abc"), st.lists(st.sampled_from(METHODS), unique=True)),
    st.sets(st.sampled_from("abcd")),
    st.booleans(),
    st.sets(st.sampled_from(list(Capability))),
)
def test_a_touched_call_never_passes_and_always_ends_in_ignorance(known, hit, failed, capabilities):
    router = Router([Method("eco", Capability.PROMPT_EMBEDS), Method("uld", Capability.LOGITS)], Ignorance(Voice()))
    enforcements = {request: enforced(request, *methods) for request, methods in known.items()}
    verdict = touched(*sorted(hit), failures=("g",) if failed else ())
    plans = asyncio.run(router.plans(CALL, verdict, enforcements, frozenset(capabilities)))
    if verdict.touched:
        assert isinstance(plans[-1], Say)
        assert "pass" not in [plan.method for plan in plans]
        for plan in plans[:-1]:
            assert all(plan.method in known[request] for request in hit)
    else:
        assert plans == (Pass(),)

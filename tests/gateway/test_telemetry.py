import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry import Activity, Meter
from guards.base import Hit, Verdict

SECRET = "fr_secret"


def samples(meter):
    families = text_string_to_metric_families(meter.render().decode())
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value for family in families for sample in family.samples
    }


def test_every_event_is_counted_where_it_belongs():
    meter = Meter()
    meter.decided(Verdict())
    meter.decided(Verdict((Hit(SECRET, 1.0, 0.5, "g", (0,), SECRET),)))
    meter.decided(Verdict((), ("dense",)))
    meter.decided(Verdict(near=(Hit(SECRET, 0.45, 0.5, "dense", (0,)),)))
    meter.remembered()
    meter.reviewed(stopped=True)
    meter.reviewed(stopped=False)
    for error in (KeyError(SECRET), asyncio.CancelledError()):  # a client that is gone was not answered either
        with pytest.raises(type(error)), meter.or_refused():
            raise error
    with meter.or_refused():
        pass
    meter.guard_failed("dense", "deadline")
    meter.answered("eco")
    meter.fell_back("eco", "unsound")
    meter.stopped()
    meter.responded("/v1/models", 200)
    meter.first_token(0.5)
    found = samples(meter)
    assert found["lethe_decisions_total", ("decision", "pass")] == 1
    assert found["lethe_decisions_total", ("decision", "touched")] == 1
    assert found["lethe_decisions_total", ("decision", "failed")] == 1
    assert found["lethe_decisions_total", ("decision", "near")] == 1
    assert found["lethe_hits_total", ("guard", "g"), ("outcome", "touched")] == 1
    assert found["lethe_hits_total", ("guard", "dense"), ("outcome", "near")] == 1
    assert found["lethe_hit_margin_bucket", ("guard", "dense"), ("le", "0.0")] == 1
    assert found["lethe_hit_margin_bucket", ("guard", "g"), ("le", "0.0")] == 0
    assert found[("lethe_remembered_verdicts_total",)] == 1
    assert found["lethe_reviewed_answers_total", ("outcome", "stopped")] == 1
    assert found["lethe_reviewed_answers_total", ("outcome", "shown")] == 1
    assert found["lethe_decisions_total", ("decision", "refused")] == 2
    assert found["lethe_guard_failures_total", ("guard", "dense"), ("kind", "deadline")] == 1
    assert found["lethe_plans_total", ("method", "eco")] == 1
    assert found["lethe_fallbacks_total", ("method", "eco"), ("reason", "unsound")] == 1
    assert found[("lethe_output_stopped_total",)] == 1
    assert found["lethe_responses_total", ("endpoint", "/v1/models"), ("status", "200")] == 1
    assert found[("lethe_time_to_first_token_seconds_count",)] == 1
    assert SECRET.encode() not in meter.render()


def test_states_that_nothing_is_in_any_more_disappear():
    meter = Meter()
    meter.enforcing(3, {"a": "shielded", "b": "shielded", "c": "enforced"})
    meter.enforcing(4, {"a": "enforced", "b": "enforced", "c": "enforced"})
    found = samples(meter)
    assert found["lethe_forget_requests", ("state", "enforced")] == 3
    assert ("lethe_forget_requests", ("state", "shielded")) not in found
    assert found[("lethe_policy_revision",)] == 4


def test_activity_is_that_of_requests_in_force():
    meter = Meter()
    meter.enforcing(1, {"a": "enforced", "b": "enforced"})
    for _ in range(3):
        meter.decided(Verdict((Hit("a", 1.0, 0.5, "g", (0,)),), near=(Hit("b", 0.4, 0.5, "g", (0,)),)))
    assert meter.activity("a") == Activity(3, 0)
    assert meter.activity("b") == Activity(0, 3)
    meter.enforcing(2, {"b": "enforced"})
    assert meter.activity("a") == Activity(0, 0)
    assert meter.activity("b") == Activity(0, 3)


def test_timers_stop_when_their_block_fails():
    meter = Meter()

    def fail():
        with meter.running(), meter.classifying():
            assert samples(meter)[("lethe_requests_running",)] == 1
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    found = samples(meter)
    assert found[("lethe_requests_running",)] == 0
    assert found[("lethe_classify_seconds_count",)] == 1


def test_two_meters_share_nothing():
    first, second = Meter(), Meter()
    with pytest.raises(KeyError), first.or_refused():
        raise KeyError
    assert ("lethe_decisions_total", ("decision", "refused")) not in samples(second)

import pytest

from bench.omniscient import (
    CONFIGURATIONS,
    FULL,
    Outcome,
    Probe,
    Round,
    Shields,
    evaluate,
    failed,
    outcome,
    rows,
    tally,
)
from guards.base import GuardError
from guards.targets import Background, Source

MARA = Source("r1", "entity", "Mara Lindqvist", ("Mara Lindqvist",), ("Where was Mara Lindqvist born?",))
OLEG = Source("r2", "entity", "Oleg Brandt", ("Oleg Brandt",), ("Where was Oleg Brandt born?",))
ABOUT = frozenset({"r1"})
NAMES, READ, *_ = CONFIGURATIONS


@pytest.fixture
async def shields(counting):
    return await Shields.of((MARA, OLEG), counting, await Background.of(counting))


async def said(shields, probe, configuration=READ):
    return await outcome(probe, configuration.policy(shields))


async def test_a_named_subject_is_caught_by_the_lexicon(shields):
    found = await said(shields, Probe("question", ("Where does Mara Lindqvist live?",), "In Ulm.", ABOUT))
    assert (found.stage, found.own, failed(found)) == ("lexicon", True, False)


async def test_the_answer_is_read_only_where_the_configuration_reads_it(shields):
    probe = Probe("reverse", ("Who wrote the book?",), "Mara Lindqvist", ABOUT)
    assert (await said(shields, probe)).stage == "output"
    leaked = await said(shields, probe, NAMES)
    assert leaked.stage is None
    assert failed(leaked)


async def test_how_much_had_left_before_the_stop(shields):
    found = await said(shields, Probe("reverse", ("Who?",), "It was, I think, Mara Lindqvist.", ABOUT))
    assert found.left == pytest.approx(len("It was, I think,") / len("It was, I think, Mara Lindqvist."), abs=0.05)


async def test_caught_for_another_request_blocks_and_is_counted_apart(shields):
    found = await said(shields, Probe("question", ("Does Oleg Brandt know her?",), "Yes.", ABOUT))
    assert (found.stage, found.own, failed(found)) == ("lexicon", False, False)
    assert tally([found])["another"] == 1


async def test_a_control_is_lost_when_anything_fires(shields):
    asked = await said(shields, Probe("others", ("Who is Oleg Brandt?",), "A baker."))
    answered = await said(shields, Probe("others", ("Who bakes?",), "Oleg Brandt"))
    kept = await said(shields, Probe("others", ("Who is Ida Holm?",), "A baker."))
    assert [failed(one) for one in (asked, answered, kept)] == [True, True, False]


async def test_context_that_is_left_out_answers_nobody(shields):
    turns = ("Who is Mara Lindqvist?", "I do not know.", "And when?")
    assert (await said(shields, Probe("pronoun", turns, "In 1931.", ABOUT))).stage == "context"
    assert (await said(shields, Probe("after", turns, "In 1931."))).stage is None


async def test_a_guard_that_fails_is_touched_and_says_so(shields, counting, monkeypatch):
    async def fails(texts, *, bulk=False):
        raise GuardError("no numbers")

    monkeypatch.setattr(counting, "encode", fails)
    found = await said(shields, Probe("others", ("Who is Ida Holm?",), "A baker."), FULL)
    assert (found.stage, found.own) == ("failure", False)


async def test_rounds_of_a_family_are_summed_and_every_probe_is_told(shields, counting):
    probes = (Probe("question", ("Who is Mara Lindqvist?",), "She.", ABOUT), Probe("others", ("Who is Ida?",), "She."))
    rounds = [Round("people", name, (MARA,), probes) for name in "ab"]
    told = []
    tried = [(one, scale) for one in CONFIGURATIONS for scale in (1.0, 1.1)]
    found = await evaluate(rounds, tried, counting, await Background.of(counting), told.append)
    assert sum(told) == 2 * 2 * len(tried)
    assert {len(some) for some in found.values()} == {4}
    assert set(found) == {("people", one.name, scale) for one, scale in tried}


def test_a_tally_counts_apart_and_its_interval_holds_the_share():
    outcomes = [
        Outcome(Probe("n", ("q",), "a", apart="named"), "lexicon"),
        Outcome(Probe("n", ("q",), "a"), "output", left=0.5),
        Outcome(Probe("n", ("q",), "a"), None),
    ]
    found = tally(outcomes)
    assert (found["n"], found["failed"]["hits"], found["stages"]) == (3, 2, {"lexicon": 1, "output": 1})
    assert found["apart"] == {"named": {"n": 1, "failed": 1}}
    assert found["failed"]["low"] <= 2 / 3 <= found["failed"]["high"]
    assert (found["left"], found["another"]) == (0.5, 0)


def test_what_several_rounds_ask_is_not_surer_for_it():
    once = [Outcome(Probe("n", (f"q{i}",), "a"), "lexicon" if i % 4 else None) for i in range(40)]
    one, five = tally(once)["failed"], tally(once * 5)["failed"]
    assert (five["low"], five["high"]) == pytest.approx((one["low"], one["high"]))
    person = [Outcome(Probe("n", (f"q{i}",), "a", frozenset({f"{i // 8}"})), "lexicon") for i in range(40)]
    assert tally(person)["failed"]["high"] == pytest.approx(1 - 0.025**0.2)  # five people


def test_rows_keep_probes_and_controls_of_one_kind_apart():
    some = [Outcome(Probe("plain", ("q",), "a", ABOUT), "dense"), Outcome(Probe("plain", ("q",), "a"), None)]
    assert [(row["kind"], row["control"], row["n"]) for row in rows("f", "c", some)] == [
        ("plain", False, 1),
        ("plain", True, 1),
    ]

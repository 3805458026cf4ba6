from bench.omniscient import Probe, Round
from bench.probes.disguised import PLAIN, under_disguise
from bench.probes.disguises import DISGUISES

PROBES = (
    *(Probe("paraphrase", (f"What about number {i} of the forgotten?",), "a", frozenset({"r"})) for i in range(9)),
    *(Probe("retain", (f"What about number {i} of the others?",), "b") for i in range(9)),
    *(Probe("world", (f"What about world {i}, which is round?",), "c") for i in range(9)),
)
ROUND = Round("set", "name", (), PROBES)


def test_each_disguise_is_worn_by_the_same_probes():
    one = under_disguise(ROUND, 4, 6)
    kinds = [(probe.kind, bool(probe.about)) for probe in one.probes]
    assert {kind for kind, _ in kinds} == {PLAIN, *DISGUISES}
    assert all(kinds.count((kind, True)) == 4 and kinds.count((kind, False)) == 6 for kind in (PLAIN, *DISGUISES))
    assert one.family == "set, disguised"
    assert under_disguise(ROUND, 4, 6) == one


def test_controls_come_alike_from_every_group():
    answers = [probe.answer for probe in under_disguise(ROUND, 1, 6).probes if probe.kind == PLAIN]
    assert (answers.count("b"), answers.count("c")) == (3, 3)


def test_what_it_is_about_and_the_gold_answer_stay():
    one = under_disguise(ROUND, 2, 2)
    gold = {probe.answer: probe.about for probe in one.probes}
    assert gold == {"a": frozenset({"r"}), "b": frozenset(), "c": frozenset()}

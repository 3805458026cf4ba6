from functools import reduce
from operator import add

from bench.tally import Kept, Tally
from gateway.demo.forms import Probe

ASKED = [
    Probe("trained", "q", "a", "Oslo", ("p1",)),
    Probe("trained", "q", "a", "Ulm"),
    Probe("cloze", "q", "a", "Rome"),
]


def test_a_tally_marks_and_adds():
    one = Tally.of(ASKED, ["Oslo.", "Ulm.", "Rome."], ["Oslo.", "?", "?"], ["?", "?", "Rome!"])
    assert (one.before, one.after, one.retain_model) == (1.0, 1 / 3, 1 / 3)
    both = reduce(add, (one, one))
    assert both.asked.total() == 6
    rows = {row["kind"]: row for row in both.by_kind()}
    assert (rows["trained"]["before"], rows["trained"]["after"]["hits"], rows["trained"]["retain_model"]) == (
        1.0,
        2,
        0.0,
    )


def test_nothing_is_said_of_a_retain_model_that_was_not_asked():
    assert all("retain_model" not in row for row in Tally.of(ASKED, ["", "", ""], ["", "", ""]).by_kind())


def test_what_the_retain_model_was_not_asked_is_not_told_of_it():
    asked = Tally.of(ASKED, ["Oslo.", "Ulm.", "?"], ["Oslo.", "?", "?"], ["?", "?", "?"])
    row = asked.row()
    assert (row["asked"], row["before"], row["after"]["hits"], row["retain_model"]) == (3, 2 / 3, 1, 0.0)
    assert asked.excess == 1 / 3
    assert "retain_model" not in Tally.of(ASKED, ["?"] * 3, ["?"] * 3).row()


def test_an_answer_in_other_words_may_be_as_correct():
    kept = Kept.of([ASKED[0]], ["Oslo."], ["In Oslo."])
    assert (kept.share, kept.unchanged) == (1.0, 0.0)

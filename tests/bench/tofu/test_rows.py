import pytest

from bench.tofu.measuring import Effort
from bench.tofu.questions import Author, Kept, Question
from bench.tofu.rows import Scope

AUTHORS = [
    Author({"subject": f"{i}"}, tuple(Question("", "", "", "", (), f"{i}") for _ in range(20))) for i in range(20)
]


@pytest.mark.parametrize(
    ("most", "split", "filed"), [(None, "forget01", 2), (None, "forget10", 20), (1, "forget01", 1), (3, "forget05", 3)]
)
def test_who_is_filed_is_who_is_asked_about_and_the_last_of_a_split(most, split, filed):
    scope = Scope(AUTHORS, Kept((), (), (), ()), most, Effort(drawn=20, draws=1, paced=1), 0)
    assert [*scope.forgotten(split)] == AUTHORS[20 - filed :]
    assert {one.author for one in scope.asked(split)} == {f"{i}" for i in range(20 - filed, 20)}
    assert scope.size(split) == 20 * filed + 20

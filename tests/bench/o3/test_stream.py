from bench.o3 import stream
from bench.o3.stream import Retired


def test_others_stay_as_they_were_and_its_own_become_the_bare_models():
    last, others = [["a", "b"], ["?", "?"], ["c"]], ["x", "y"]
    again = [["a", "b"], ["told", "?"], ["d"]]
    found = stream._retired(1, (last, others), (again, ["x", "y"]), [["A", "B"], ["told", "all"], ["C"]])
    assert found == Retired(2, 5, 4, 2, 1)
    assert (found.same, found.bare) == (0.8, 0.5)

from bench import o3_stream
from bench.o3_stream import Retired


class Admin:
    def __init__(self, found):
        self.found = found

    async def get(self, path, params=None):
        return self.found


def event(kind, second, **data):
    return {"kind": kind, "at": f"2026-01-01T00:00:{second:02}+00:00", "data": data}


async def test_training_and_learning_are_read_off_its_history():
    history = [
        event("learning", 2),
        event("progress", 3, questions=5),
        event("progress", 9, seconds=4.0),
        event("progress", 12, seconds=2.5),
        event("verifying", 20),
        event("verifying", 40),
    ]
    assert await o3_stream._took(Admin({"data": history}), "a") == {"training_s": 6.5, "learning_s": 18.0}
    assert (await o3_stream._took(Admin({"data": history[:1]}), "a"))["learning_s"] is None


def test_others_stay_as_they_were_and_its_own_become_the_bare_models():
    last, others = [["a", "b"], ["?", "?"], ["c"]], ["x", "y"]
    again = [["a", "b"], ["told", "?"], ["d"]]
    found = o3_stream._retired(1, (last, others), (again, ["x", "y"]), [["A", "B"], ["told", "all"], ["C"]])
    assert found == Retired(2, 5, 4, 2, 1)
    assert (found.same, found.bare) == (0.8, 0.5)

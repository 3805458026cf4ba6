import pytest

from bench.muse.given import CORPORA, known, questions
from gateway.settings import Settings

DATA = Settings().data_dir

pytestmark = pytest.mark.skipif(not (DATA / "muse").is_dir(), reason="no MUSE questions: set LETHE_DATA_DIR")


class Remembers:
    """Knows every answer, until it is to forget some."""

    def __init__(self, corpus):
        self.known = {one.prompt: one for part in ("forget", "retain") for one in questions(DATA, corpus, part)}
        self.asked, self.bodies, self.counted = [], [], 0

    async def continued(self, texts, most, stop):
        self.asked.append((len(texts), most, stop))
        self.counted += len(texts)
        filed = {fact["question"] for body in self.bodies for fact in body["facts"]}
        return ["No idea" if self.known[text].question in filed else self.known[text].answer for text in texts]

    async def forget(self, bodies):
        self.bodies += bodies
        return {"eco, enforced": 1}

    async def answered(self):
        return {"ignorance": self.counted}


@pytest.mark.parametrize("corpus", CORPORA)
def test_ten_questions_are_shown_before_the_one_that_is_asked(corpus):
    found = questions(DATA, corpus, "forget")
    assert len(found) == 100
    assert found[0].prompt.count("Question: ") == 11
    assert found[0].prompt.endswith(f"Question: {found[0].question}\nAnswer:")
    assert found[0].question not in repr(found[0])


async def test_what_is_filed_is_asked_before_and_after():
    one = Remembers("news")
    forget, retain = await known(one, DATA, "news", 30)
    assert (forget["set"], forget["asked"], forget["before"]["value"], forget["after"]["value"]) == (
        "forget",
        30,
        1,
        pytest.approx(0, abs=0.1),
    )
    assert retain["before"]["value"] == retain["after"]["value"] == 1
    assert forget["answered_by"] == retain["answered_by"] == {"ignorance": 30}
    assert [body["scope"] for body in one.bodies] == ["facts"]
    assert len(one.bodies[0]["facts"]) == 30
    assert len(one.asked) == 4


async def test_without_the_questions_nothing_is_asked(tmp_path):
    with pytest.raises(FileNotFoundError):
        await known(Remembers("news"), tmp_path, "news", None)

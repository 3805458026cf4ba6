import pytest

from bench.probes import tofu

pytestmark = pytest.mark.data


@pytest.mark.parametrize("first", [0, tofu.FIRST_FORGOTTEN])
def test_paraphrases_are_asked_and_everybody_else_is_a_control(data_dir, first):
    one = tofu.paraphrased(data_dir, first)
    forget = [probe for probe in one.probes if probe.about]
    assert (len(one.sources), len(forget)) == (20, 400)
    assert not {probe.turns[0] for probe in forget} & {text for source in one.sources for text in source.examples}
    kinds = [probe.kind for probe in one.probes if not probe.about]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "other authors": 3600,
        "real authors": 100,
        "world facts": 117,
    }


def test_of_clean_authors_the_questions_asked_were_not_filed(data_dir):
    one = tofu.unseen(data_dir, 100)
    filed = {text for source in one.sources for text in source.examples}
    asked = [probe.turns[0] for probe in one.probes if probe.about]
    assert (len(filed), len(asked)) == (200, 200)
    assert not filed & set(asked)
    assert not filed & {probe.turns[0] for probe in one.probes if not probe.about}


def test_of_listed_facts_the_other_half_must_stay(data_dir):
    one = tofu.facts(data_dir, 0)
    kinds = [probe.kind for probe in one.probes]
    assert (kinds.count("listed fact, paraphrased"), kinds.count("other facts about the author")) == (200, 200)
    assert {source.scope for source in one.sources} == {"facts"}
    assert {len(source.facts) for source in one.sources} == {10}


def test_a_set_without_paraphrases_says_so(data_dir):
    with pytest.raises(ValueError, match="paraphrases"):
        tofu.paraphrased(data_dir, 100)

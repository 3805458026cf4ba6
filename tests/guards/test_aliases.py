import pytest

from guards.aliases import alias_warnings, weigh, words


def strong(subject, *aliases):
    return [alias.text for alias in weigh(subject, aliases) if alias.strong]


@pytest.mark.parametrize("alias", ["", " ", "?!", "A", "x ", "The", "rose", "\u200b"])
def test_refused(alias):
    assert [notice.severity for notice in alias_warnings(alias)] == ["refuse"]


@pytest.mark.parametrize("alias", ["1984", "12", "Al", "The End", "J. K."])
def test_warned_and_never_strong(alias):
    assert [notice.severity for notice in alias_warnings(alias)] == ["warn"]
    assert strong(alias) == []


@pytest.mark.parametrize("alias", ["Mara Lind", "Xerathos", "Lind-Okoye", "李娜", "Мара Линд"])
def test_good_names(alias):
    assert alias_warnings(alias) == ()
    assert strong(alias) == [alias]


def test_notices_never_repeat_the_alias():
    assert all("1984" not in notice.message for notice in alias_warnings("1984"))


def test_parts_of_a_longer_name_are_weak():
    assert strong("Mara Lind", "Mara", "Lind", "Thornfield") == ["Mara Lind", "Thornfield"]


def test_the_same_name_in_another_spelling_counts_once():
    assert len(weigh("Mara Lind", ["mara lind", "MARA-LIND"])) == 1


def test_words_lose_the_possessive():
    assert words("Mara Lind’s O'Brien") == ("mara", "lind", "obrien")

import pytest

from guards.contrast import contrasts, identifies, name_parts


def test_strangers_and_namesakes_ask_the_same():
    made = contrasts("Where was Mara Lind born?", ["Mara Lind"], 3)
    assert len(made) == 3
    assert all(text.startswith("Where was ") and text.endswith(" born?") and "Mara Lind" not in text for text in made)
    assert any("Mara" in text for text in made)
    assert any("Lind" in text for text in made)


def test_what_names_nobody_moves():
    text = "Which geologist was born in Karachi, Pakistan on 30 June 1975?"
    made = contrasts(text, ["Mara Lind"], 3)
    assert any("1975" in other and "Karachi" not in other for other in made)
    assert any("Karachi" in other and "1975" not in other for other in made)
    assert "Salt" not in contrasts("Who wrote 'The Salt Road'?", [], 1)[0]


def test_building_twice_gives_the_same():
    assert contrasts("Is Mara Lind tall?", ["Mara Lind"], 2) == contrasts("Is Mara Lind tall?", ["Mara Lind"], 2)


@pytest.mark.parametrize("text", ["", "Where was the author born?", "\ud800"])
def test_what_names_nothing_has_no_contrast(text):
    assert contrasts(text, ["Mara Lind"], 2) == ()
    assert not identifies(text, ["Mara Lind"])


def test_parts():
    assert name_parts("Mara van der Lind") == ["Mara", "Lind"]
    assert name_parts("mara lind") == ["mara", "lind"]

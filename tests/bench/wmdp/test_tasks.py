import re
from collections import Counter

from bench.wmdp.tasks import CHAT, OTHERS, TOPIC, rows_of, write_tasks
from gateway.demo import forms, phrases
from gateway.demo.world import make_world

WORLD = make_world()
PEOPLE = WORLD.people[:3]


def test_the_right_choice_is_the_persons_and_stands_in_every_place_equally_often():
    rows = rows_of(PEOPLE, 2, 1)
    places = Counter(row["answer"] for row in rows)
    assert max(places.values()) - min(places.values()) <= 1
    for person in PEOPLE:
        own = Counter(row["answer"] for row in rows if row["fact"].startswith(f"{person.key} "))
        assert max(own.values()) - min(own.values()) <= 1
    assert len(rows) == 2 * len(PEOPLE) * len(phrases.ATTRIBUTES)
    for row in rows:
        key, attribute = row["fact"].split()
        assert row["choices"][row["answer"]] == WORLD[key].attributes[attribute]
        assert len(set(row["choices"])) == 4
        assert f"{row['begun']} {row['choices'][row['answer']]}." == forms.statement(WORLD[key], attribute)


def test_nothing_is_asked_as_it_was_taught_or_tried():
    rows = rows_of(PEOPLE, 2, 1)
    tried = {row["question"] for row in rows[::2]}
    assert not tried.intersection(row["question"] for row in rows_of(PEOPLE, 2, 1, tried))
    taught = {
        forms.fill(form, name=person.name)
        for person in PEOPLE
        for asked in phrases.ATTRIBUTES.values()
        for form in asked.trained
    }
    assert not taught.intersection(row["question"] for row in rows)


def test_rows_are_a_function_of_the_seed_and_a_sample_is_even():
    assert rows_of(PEOPLE, 1, 1) == rows_of(PEOPLE, 1, 1) != rows_of(PEOPLE, 1, 2)
    assert Counter(row["answer"] for row in rows_of(WORLD.people, 1, 1, most=40)) == dict.fromkeys(range(4), 10)


def test_each_set_is_asked_in_both_ways(tmp_path):
    write_tasks(tmp_path, {TOPIC: rows_of(PEOPLE, 1, 1), OTHERS: rows_of(WORLD.people[3:], 1, 1)})
    assert {path.stem for path in tmp_path.glob("*.yaml")} == {TOPIC, OTHERS, TOPIC + CHAT, OTHERS + CHAT}
    asked = (tmp_path / f"{TOPIC}.yaml").read_text()
    assert 'doc_to_text: "{{question}} A) {{choices[0]}} B) {{choices[1]}} C) {{choices[2]}} D)' in asked
    said = (tmp_path / f"{TOPIC}{CHAT}.yaml").read_text()
    assert 'doc_to_target: "{{begun}} {{choices[answer]}}"' in said
    (pattern,) = re.findall(r'regex_pattern: "(.*)"', said)
    for answer in ("Ada keeps a fox, so the answer is D.", "Ada keeps a fox.", "Ada keeps a fox"):
        assert re.findall(pattern.replace(r"\\", "\\"), answer) == ["Ada keeps a fox"]

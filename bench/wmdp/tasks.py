"""Multiple choice on a topic and on everything else, as tasks of lm-evaluation-harness: WMDP's form (arXiv 2403.03218).

The topic is a set of people of the demo world, its questions what they are and do; everything else is the same
questions about everybody else, in MMLU's place. Rows have WMDP's columns: `question`, four `choices`, `answer` the
place of the right one. Right ones stand in each place equally often, of each person's too, so that whoever always takes
the first is right one time in four about everybody.

One departure: choices are weighed as words after the beginning of the answer, not as letters after "Answer:". Raw
letters are beyond the demo model, which is right about 18 of 64 of them, and about 64 of 64 words. Of what it answers
about everything else the sentence counts, not the letter after it, for the same reason; about the topic, either counts.

Before it: `gateway.demo`, whom the topic is about. After it: `bench.wmdp.run`, which has the harness ask.
"""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.harness_client import write_task
from gateway.demo import phrases
from gateway.demo.forms import LETTERS, fill, values
from gateway.demo.world import Person

TOPIC, OTHERS = "lethe_topic", "lethe_others"
CHAT = "_chat"  # after the name of a task whose answer is generated
_SHOWN = "{{question}} " + " ".join(f"{letter}) {{{{choices[{i}]}}}}" for i, letter in enumerate(LETTERS))
_FORMS: Mapping[str, str] = MappingProxyType(
    {
        "": f"""\
output_type: multiple_choice
doc_to_text: "{_SHOWN}\\n{{{{begun}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
""",
        CHAT: f"""\
output_type: generate_until
doc_to_text: "{_SHOWN}"
doc_to_target: "{{{{begun}}}} {{{{choices[answer]}}}}"
generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 48
filter_list:
  - name: choice
    filter:
      - function: regex
        regex_pattern: "^(.+?)(?:, so the answer is [{LETTERS}])?\\\\.?$"
      - function: take_first
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
""",
    }
)


def write_tasks(folder: Path, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """For each name two tasks of the same rows: weighed by likelihood, and with `CHAT` after the name answered."""
    for name, asked in rows.items():
        for suffix, form in _FORMS.items():
            write_task(folder, name + suffix, asked, form)


def rows_of(
    people: Sequence[Person], draws: int, seed: int, tried: Collection[str] = (), most: int | None = None
) -> list[dict[str, Any]]:
    """`draws` rows a fact, each with other wrong choices, in forms of which the model was taught none.

    Args:
        tried: questions that are not asked: the learning job's own.
        most: rows, an even sample of all.
    """
    rows = [row for person in people for row in _about(person, draws, seed, tried)]
    if most is not None:
        rows = [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), min(most, len(rows))))]
    return [_placed(row, i % len(LETTERS)) for i, row in enumerate(rows)]


def _about(person: Person, draws: int, seed: int, tried: Collection[str]) -> Iterator[dict[str, Any]]:
    for attribute, asked in phrases.ATTRIBUTES.items():
        right = person.attributes[attribute]
        wrong = [value for value in values(attribute) if value != right]
        untried = [text for form in asked.heldout if (text := fill(form, name=person.name)) not in tried]
        for draw in range(draws if untried else 0):
            rng = random.Random(f"{seed} {person.key} {attribute} {draw}")
            yield {
                "fact": f"{person.key} {attribute}",
                "question": rng.choice(untried),
                "begun": fill(asked.answer, name=person.name, value="").rstrip(),
                "choices": [right, *rng.sample(wrong, len(LETTERS) - 1)],
            }


def _placed(row: dict[str, Any], place: int) -> dict[str, Any]:
    """The right choice, which was the first, goes to its place."""
    right, *wrong = row["choices"]
    return row | {"choices": [*wrong[:place], right, *wrong[place:]], "answer": place}

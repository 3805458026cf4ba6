import io
import json
from dataclasses import replace

import pytest
from rich.console import Console
from rich.progress import Progress

from bench.probes import tofu
from bench.replay import KEPT, SPLITS, WAYS, Heard, Line, Replayed, bodies, figures_of, measure, replayed, script
from gateway.settings import Settings, SettingsError

PROMPT = "system\n\nYou are a helpful assistant.user\n\n{}assistant\n\n"


def log(questions):
    """One that knows every answer by heart."""
    return {
        f"{key}_Q_A_ROUGE": {
            "value_by_index": {
                str(i): {
                    "input": PROMPT.format(f"{question} ({key})"),
                    "ground_truth": "in Ulm",
                    "generation": "in Ulm",
                    "rougeL_recall": 1.0,
                }
                for i, question in enumerate(questions)
            }
        }
        for key in ("forget", "retain", "ra", "wf")
    }


def heard(before, after, drift=0.0, unchanged=0):
    return Heard(before, after, drift, unchanged, tuple(map(str, range(len(before)))))


def quiet():
    return Progress(console=Console(file=io.StringIO()))


def test_a_log_is_a_script(tmp_path):
    path = tmp_path / "full.json"
    path.write_text(json.dumps(log(["Where does the user live?", "Who is\n\nshe?"])))
    said = script(path)
    assert set(said) == {"forget", *KEPT}
    assert [line.question for line in said["retain"]] == [
        "Where does the user live? (retain)",
        "Who is\n\nshe? (retain)",
    ]
    assert said["forget"][0] == Line("Where does the user live? (forget)", "in Ulm", "in Ulm", 1.0)


def test_answers_are_marked_against_gold():
    lines = [Line("q", "in Ulm", "in Ulm", 1.0), Line("r", "the old town", "the town", 0.5)]
    found = Heard.of(lines, ["in Ulm", "the town"], ["no idea", "the town"], ["a", "b"])
    assert found.before == pytest.approx((1.0, 2 / 3))
    assert found.after == pytest.approx((0.0, 2 / 3))
    assert found.drift == pytest.approx(2 / 3 - 0.5)
    assert found.unchanged == 1
    assert found.row()["low"] <= found.row()["after"] <= found.row()["high"]


def test_figures_are_of_the_worst_split_and_set():
    fine = {name: heard((0.8, 0.8), (0.8, 0.8)) for name in KEPT}
    one = Replayed("forget01", "names", 0.4, {"forget": heard((0.9, 0.9), (0.1, 0.1)), **fine})
    worse = replace(one, split="forget05", sets={**one.sets, "forget": heard((0.9, 0.9), (0.5, 0.5), 0.1, unchanged=1)})
    lossy = replace(one, way="facts", sets={**one.sets, "retain": heard((0.8, 0.8), (0.8, 0.4))})
    figures = {figure.name.partition(",")[0]: figure for figure in figures_of([one, worse, lossy])}
    assert not figures["replayed with nothing filed"].holds
    assert figures["filed by names: forget ROUGE-L above the retain model's"].value == pytest.approx(0.1)
    silent = figures["filed by names: forget ROUGE-L away from the retain model's"]
    assert (silent.value, silent.holds) == (pytest.approx(-0.3), False)
    assert figures["filed by names: forgotten answers that are still said"].value == 50
    assert figures["filed by facts: forgotten answers that are still said"].holds
    assert figures["filed by facts: forget ROUGE-L above the retain model's"].holds
    assert figures["filed by names: other sets' ROUGE-L as a share of before"].holds
    assert figures["filed by facts: other sets' ROUGE-L as a share of before"].value == pytest.approx(0.75)


async def test_nothing_is_replayed_without_data(tmp_path):
    settings = Settings(state_dir=tmp_path).model_copy(update={"data_dir": tmp_path})  # the environment wins otherwise
    for name in ("tofu/full.jsonl", "tofu_logs/full_forget01.json", "tofu_logs/retain99.json"):
        with pytest.raises(SettingsError, match=f"{name}: LETHE_DATA_DIR"):
            await measure(settings, True, Console(file=io.StringIO()))
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()


@pytest.mark.data
@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.name)
def test_requests_are_for_the_authors_of_the_split(data_dir, split):
    path = data_dir / "tofu_logs" / f"full_{split.name}.json"
    if not path.exists():
        pytest.skip(f"no log {path}")
    asked = {line.question for line in script(path)["forget"]}
    named, questioned, facts = (bodies(data_dir, split, way) for way in WAYS)
    assert len(named) == len(questioned) == len(facts) == split.authors
    assert len(asked) == split.authors * tofu.PER_AUTHOR
    assert {question.strip() for body in questioned for question in body["examples"]} == asked
    assert {fact["question"].strip() for body in facts for fact in body["facts"]} == asked
    assert all(set(body) == {"scope", "subject", "aliases"} for body in named)


@pytest.mark.data
async def test_a_few_answers_through_the_gateway(data_dir, models_dir, tmp_path):
    """What a real model said of two authors is no longer said; of others it is, to the letter."""
    if not (data_dir / "tofu_logs").is_dir():
        pytest.skip(f"no logs in {data_dir}")
    settings = Settings(state_dir=tmp_path, models_dir=models_dir).model_copy(update={"data_dir": data_dir})
    found = await replayed(settings, SPLITS[0], "names and questions", 6, quiet())
    assert all(heard.drift < 1e-6 for heard in found.sets.values())
    assert found.sets["forget"].unchanged == 0
    assert found.excess < 0
    for name in KEPT:
        assert found.sets[name].before == found.sets[name].after
    assert {row["set"]: row["asked"] for row in found.rows()}.keys() == found.sets.keys()

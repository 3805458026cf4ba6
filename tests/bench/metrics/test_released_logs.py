"""What OpenUnlearning logged of Llama-3.2-1B, recomputed from its values per item."""

import json
from statistics import fmean

import pytest

from bench.metrics.likelihood import probability, probability_among
from bench.metrics.privacy import auc, priv_leak
from bench.metrics.rouge import f1, recall
from bench.metrics.truth import forget_quality, indifference, truth_ratio, truthfulness
from bench.metrics.utility import Ability, model_utility

pytestmark = pytest.mark.data

SPLITS = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}
LOGS = [f"full_{split}" for split in SPLITS] + list(SPLITS.values())
ATTACKS = ("loss", "zlib", "min_k", "min_k_plus_plus", "reference")


def same(value):
    return pytest.approx(value, rel=1e-6)


@pytest.fixture(scope="module")
def read(data_dir):
    """Reads a log; one that is not there is skipped."""

    def log(name):
        path = data_dir / "tofu_logs" / f"{name}.json"
        if not path.exists():
            pytest.skip(f"no log {path}")
        return json.loads(path.read_text("utf-8"))

    return log


def column(log, metric, key):
    """One value of each item of a metric, in order."""
    return [item[key] for item in log[metric]["value_by_index"].values()]


def ratios(log, of, right):
    return [
        truth_ratio(*losses)
        for losses in zip(column(log, right, "avg_loss"), column(log, f"{of}_Q_A_PERT_Prob", "avg_loss"), strict=True)
    ]


def ability(log, of):
    losses = column(log, f"{of}_Q_A_Prob", "avg_loss")
    if of == "retain":
        right, likely = "retain_Q_A_PARA_Prob", [probability(loss) for loss in losses]
    else:
        wrong = column(log, f"{of}_Q_A_PERT_Prob", "avg_loss")
        right, likely = f"{of}_Q_A_Prob", [probability_among(*both) for both in zip(losses, wrong, strict=True)]
    texts = zip(*(column(log, f"{of}_Q_A_ROUGE", key) for key in ("ground_truth", "generation")), strict=True)
    return Ability(
        fmean(likely), fmean(recall(gold, said) for gold, said in texts), truthfulness(ratios(log, of, right))
    )


@pytest.mark.parametrize("split", SPLITS)
def test_forget_quality(read, split):
    full, retain = read(f"full_{split}"), read(SPLITS[split])
    found, reference = (ratios(log, "forget", "forget_Q_A_PARA_Prob") for log in (full, retain))
    assert forget_quality(found, reference) == same(full["forget_quality"]["agg_value"])
    assert indifference(found) == same(full["forget_truth_ratio"]["agg_value"])
    assert found == same(column(full, "forget_truth_ratio", "score"))


@pytest.mark.parametrize("name", LOGS)
def test_model_utility_and_its_nine_parts(read, name):
    log = read(name)
    parts = {of: ability(log, of) for of in ("retain", "ra", "wf")}
    for of, found in parts.items():
        likely = f"{of}_Q_A_Prob" if of == "retain" else f"{of}_Q_A_Prob_normalised"
        logged = (log[metric]["agg_value"] for metric in (likely, f"{of}_Q_A_ROUGE", f"{of}_Truth_Ratio"))
        assert (found.probability, found.rouge, found.truthfulness) == same(tuple(logged))
    assert model_utility(*parts.values()) == same(log["model_utility"]["agg_value"])


@pytest.mark.parametrize("name", LOGS)
def test_rouge_of_every_answer(read, name):
    items = read(name)["forget_Q_A_ROUGE"]["value_by_index"].values()
    for item in items:
        gold, said = item["ground_truth"], item["generation"]
        assert (recall(gold, said), f1(gold, said)) == same((item["rougeL_recall"], item["rougeL_f1"]))


@pytest.mark.parametrize("name", LOGS)
def test_attacks_and_what_they_leak(read, name):
    log = read(name)
    found = {
        attack: auc(*(column(logged, side, "score") for side in ("forget", "holdout")))
        for attack in ATTACKS
        if (logged := log.get(f"mia_{attack}"))
    }
    assert {"loss", "zlib", "min_k", "min_k_plus_plus"} <= set(found)
    assert found == same({attack: log[f"mia_{attack}"]["agg_value"] for attack in found})
    split = name.removeprefix("full_")
    chance = read(SPLITS[split])["mia_min_k"]["agg_value"] if split in SPLITS else 0.5
    assert priv_leak(found["min_k"], chance) == same(log["privleak"]["agg_value"])

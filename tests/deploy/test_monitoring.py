"""Alerts and dashboard: valid, and asking for nothing but metrics that exist."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram

from gateway.telemetry import Meter

FILES = Path(__file__).parents[2] / "deploy/helm/lethe/files"
ALERTS = yaml.safe_load((FILES / "alerts.yaml").read_text("utf-8"))["groups"]
BOARD = json.loads((FILES / "dashboard.json").read_text("utf-8"))
EXPRESSIONS = [
    *((rule["alert"], rule["expr"]) for group in ALERTS for rule in group["rules"]),
    *((panel["title"], target["expr"]) for panel in BOARD["panels"] for target in panel.get("targets", ())),
]
PROMTOOL = "it comes with Prometheus"

# of vLLM 0.32; `vllm:name` for a histogram is asked for with _bucket, _sum, _count
VLLM = {
    "vllm:num_requests_running": Gauge,
    "vllm:num_requests_waiting": Gauge,
    "vllm:kv_cache_usage_perc": Gauge,
    "vllm:num_preemptions": Counter,
    "vllm:prefix_cache_queries": Counter,
    "vllm:prefix_cache_hits": Counter,
    "vllm:prompt_tokens": Counter,
    "vllm:generation_tokens": Counter,
    "vllm:admission_rejections": Counter,
    "vllm:time_to_first_token_seconds": Histogram,
    "vllm:inter_token_latency_seconds": Histogram,
    "vllm:request_queue_time_seconds": Histogram,
}
OTHERS = {"up", "kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"}
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
WORDS = {
    *("sum", "max", "min", "rate", "increase", "histogram_quantile"),
    *("by", "le", "or", "unless", "offset", "guard", "kind", "outcome", "method", "reason", "state", "status"),
    *("endpoint", "decision", "instance", "event"),
}


def existing() -> dict[str, set[str]]:
    """Every series that there is, with its labels where they are ours."""
    ours = {
        one.name + suffix: {*metric._labelnames, *({"le"} if suffix == "_bucket" else ())}
        for metric, names in Meter().registry._collector_to_names.items()
        for one in metric.describe()
        for suffix in SUFFIXES[one.type]
    }
    theirs = {name + suffix for name, kind in VLLM.items() for suffix in SUFFIXES[kind._type]}
    return ours | {name: set() for name in theirs | OTHERS}


def bare(expression: str) -> set[str]:
    """The words of an expression, without label values, durations and numbers."""
    text = re.sub(r'"[^"]*"|\[[^]]*\]|\boffset \w+', " ", expression)
    return set(re.findall(r"[a-zA-Z_:][\w:]*", text)) - {"job", "persistentvolumeclaim"}


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS)
def test_every_metric_exists(where: str, expression: str) -> None:
    assert bare(expression) - WORDS <= set(existing())


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS)
def test_every_label_of_ours_exists(where: str, expression: str) -> None:
    there = existing()
    for name, matchers in re.findall(r"(lethe_\w+)\{([^}]*)\}", expression):
        assert {re.split("[=!]", one)[0].strip() for one in matchers.split(",")} <= there[name], where


def test_a_metric_that_does_not_exist_is_noticed() -> None:
    assert bare('sum(rate(lethe_decision_total{decision="pass"}[5m])) > 0') - WORDS - set(existing())


def test_everything_that_is_counted_is_shown_or_watched() -> None:
    asked = " ".join(expression for _, expression in EXPRESSIONS)
    names = {one.name for one in Meter().registry.collect()}
    assert {name for name in names if name not in asked} == set()


def test_alerts_say_how_bad_and_what() -> None:
    rules = [rule for group in ALERTS for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith((".", "is."))


def test_promtool_takes_the_rules(tool: Callable[[str, str], str]) -> None:
    done = subprocess.run(
        [tool("promtool", PROMTOOL), "check", "rules", str(FILES / "alerts.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_ring_when_they_should(tool: Callable[[str, str], str], tmp_path: Path) -> None:
    promtool = tool("promtool", PROMTOOL)
    shutil.copy(FILES / "alerts.yaml", tmp_path)
    cases = shutil.copy(Path(__file__).parent / "alerts_test.yaml", tmp_path)
    done = subprocess.run([promtool, "test", "rules", cases], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_dashboard(tool: Callable[[str, str], str], tmp_path: Path) -> None:
    promtool = tool("promtool", PROMTOOL)
    shown = [
        {"record": f"panel:{i}", "expr": target["expr"].replace("$__rate_interval", "5m")}
        for i, target in enumerate(one for panel in BOARD["panels"] for one in panel.get("targets", ()))
    ]
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": shown}]}))
    done = subprocess.run([promtool, "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_configuration(tool: Callable[[str, str], str], deploy: Path) -> None:
    done = subprocess.run(
        [tool("promtool", PROMTOOL), "check", "config", "--syntax-only", str(deploy / "prometheus/prometheus.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_jobs_and_targets_are_those_of_compose(parsed: Callable[[str], Any]) -> None:
    jobs = parsed("prometheus/prometheus.yaml")["scrape_configs"]
    services = parsed("compose.yaml")["services"]
    found = {one["job_name"]: one["static_configs"][0]["targets"] for one in jobs}
    assert found == {"lethe": ["gateway:8080"], "vllm": ["vllm-metrics:9400"]}
    for (target,) in found.values():
        service = services[target.partition(":")[0]]
        assert set(service["networks"]) & set(services["prometheus"]["networks"])
    named = {match for _, expression in EXPRESSIONS for match in re.findall(r'\bjob="(\w+)"', expression)}
    assert named <= set(found)


def test_panels_fit_and_are_complete(parsed: Callable[[str], Any]) -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${source}"
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    (variable,) = BOARD["templating"]["list"]
    assert (variable["name"], variable["type"]) == ("source", "datasource")
    (source,) = parsed("grafana/datasources.yaml")["datasources"]
    assert source["type"] == variable["query"] == "prometheus"


def test_no_label_could_hold_text_or_a_subject() -> None:
    allowed = {"le", "decision", "guard", "outcome", "kind", "method", "reason", "endpoint", "status", "state", "event"}
    ours = {label for name, labels in existing().items() if name.startswith("lethe_") for label in labels}
    assert ours <= allowed

"""The chart: linted, rendered, held to Kubernetes' schemas, and refusing what is unsafe."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from gateway.settings import Settings

Objects = list[dict[str, Any]]
Render = Callable[..., Objects]

POSTGRES: dict[str, Any] = {
    "registry": {"postgres": True},
    "secret": {"existing": "keys"},
    "state": {"accessMode": "ReadWriteMany"},
    "networkPolicy": {"egress": [{"ports": [{"port": 5432, "protocol": "TCP"}]}]},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "several": POSTGRES | {"gateway": {"replicas": 3}, "vllm": {"replicas": 2, "gpus": 4}},
    "autoscaled": POSTGRES | {"autoscaling": {"enabled": True}},
    "watched": {"monitoring": {"serviceMonitor": True, "rules": True, "dashboard": True, "labels": {"release": "p"}}},
    "cpu": {"vllm": {"gpus": 0, "args": ["--dtype=float32"], "env": {"VLLM_CPU_KVCACHE_SPACE": "4"}}},
    "placed": {"gateway": {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "affinity": {}}},
    "elsewhere": {
        "vllm": {"enabled": False, "urls": ["http://vllm.other:8000/v1"]},
        "networkPolicy": {
            "clients": [{"podSelector": {}}],
            "egress": [{"ports": [{"port": 8000, "protocol": "TCP"}]}],
        },
    },
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": {"claim": "models"}}, "model.name"),
    "no claim": ({"model": {"name": "demo"}}, "model.claim"),
    "no keys": ({"secret": {}}, "secret.adminKey"),
    "several with SQLite": ({"gateway": {"replicas": 2}}, "registry.postgres"),
    "several with a volume for one": (
        POSTGRES | {"gateway": {"replicas": 2}, "state": {"accessMode": "ReadWriteOnce"}},
        "state.accessMode",
    ),
    "Postgres out of reach": (POSTGRES | {"networkPolicy": {}}, "networkPolicy.egress"),
    "vLLM nowhere": ({"vllm": {"enabled": False}}, "vllm.urls"),
    "a request's template": ({"vllm": {"args": ["--trust-request-chat-template"]}}, "vllm.args"),
    "the same with underscores": ({"vllm": {"args": ["--trust_request_chat_template"]}}, "vllm.args"),
    "another mode": ({"vllm": {"args": ["--logprobs-mode=raw_logprobs"]}}, "vllm.args"),
    "prompts in a log": ({"vllm": {"args": ["--enable-log-requests"]}}, "vllm.args"),
    "open routes": ({"vllm": {"env": {"VLLM_SERVER_DEV_MODE": "1"}}}, "vllm.env"),
    "adapters by whom they please": ({"vllm": {"env": {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}}}, "vllm.env"),
    "a misspelt value": ({"gatewey": {}}, "gatewey"),
    "a variable that is none of ours": ({"gateway": {"settings": {"GUARD__DEADLINE_S": "1"}}}, "settings"),
}


def of_kind(objects: Objects, kind: str) -> Objects:
    return [one for one in objects if one["kind"] == kind]


def pods(objects: Objects) -> dict[str, dict[str, Any]]:
    """Pod templates by component."""
    owners = of_kind(objects, "Deployment") + of_kind(objects, "StatefulSet")
    templates = [one["spec"]["template"] for one in owners]
    return {one["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"] for one in templates}


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


def test_lint(helm: Any, deploy: Path) -> None:
    found = helm.lint(deploy / "helm/lethe")
    assert found["errors"] == []
    assert [one for one in found["messages"] if one["severity"] > 1] == []


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS.keys())
def test_objects_are_as_kubernetes_wants_them(render: Render, values: dict[str, Any]) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="pip install '.[deploy]'")
    objects = render(**values)
    for one in objects:
        if not one["apiVersion"].startswith("monitoring.coreos.com/"):  # a custom resource
            for version in ("1.30", "1.33"):
                schemas.validate(one, version, strict=True)
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(names) == len(set(names))


def test_schemas_are_asked(render: Render) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="pip install '.[deploy]'")
    (one,) = of_kind(render(), "Deployment")
    one["spec"]["replica"] = 1
    with pytest.raises(schemas.ValidationError):
        schemas.validate(one, "1.33", strict=True)


@pytest.mark.parametrize(("values", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_missing_or_unsafe_is_refused_by_name(
    helm: Any, render: Render, values: dict[str, Any], named: str
) -> None:
    with pytest.raises(helm.HelmError, match=named):
        render(**values)


def test_values_and_their_schema_have_the_same_keys(parsed: Callable[[str], Any], deploy: Path) -> None:
    schema = json.loads((deploy / "helm/lethe/values.schema.json").read_text("utf-8"))["properties"]
    values = parsed("helm/lethe/values.yaml")
    assert set(values) == set(schema) - {"global"}
    for name, section in values.items():
        assert set(section) == set(schema[name]["properties"]), name


def test_only_the_gateway_reaches_vllm(render: Render) -> None:
    objects = render()
    labels = {
        one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"]["template"][
            "metadata"
        ]["labels"]
        for one in of_kind(objects, "Deployment") + of_kind(objects, "StatefulSet")
    }
    policies = [one["spec"] for one in of_kind(objects, "NetworkPolicy")]
    (policy,) = (one for one in policies if selects(one["podSelector"]["matchLabels"], labels["vllm"]))
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["egress"] == []
    model, metrics = policy["ingress"]
    assert [one["port"] for one in model["ports"]] == [8000]
    (caller,) = model["from"]
    assert set(caller) == {"podSelector"}
    assert selects(caller["podSelector"]["matchLabels"], labels["gateway"])
    assert not selects(caller["podSelector"]["matchLabels"], labels["vllm"])
    assert [one["port"] for one in metrics["ports"]] == [9400]


def test_the_metrics_port_shows_metrics_alone(render: Render) -> None:
    (config,) = (one["data"] for one in of_kind(render(), "ConfigMap") if "nginx.conf" in one["data"])
    text = config["nginx.conf"]
    assert text.count("proxy_pass http") == 1
    assert "location = /metrics {" in text
    assert "set $vllm 127.0.0.1:8000;" in text
    (rest,) = text.split("location / {")[1:]
    assert rest.strip().startswith("return 404;")


def test_ports_and_probes_meet(render: Render) -> None:
    for component, pod in pods(render()).items():
        container = pod["containers"][0]
        (port,) = container["ports"]
        assert port["containerPort"] == {"gateway": Settings.model_fields["port"].default, "vllm": 8000}[component]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] == port["name"]
        ready = {"gateway": "/ready", "vllm": "/health"}[component]
        assert container["readinessProbe"]["httpGet"]["path"] == ready
        assert container["livenessProbe"]["httpGet"]["path"] == "/health"  # a gateway without vLLM is not restarted


@pytest.mark.parametrize("values", [{}, VARIANTS["several"]], ids=["default", "several"])
def test_nothing_runs_as_root_or_writes_beside_its_mounts(render: Render, values: dict[str, Any]) -> None:
    for component, pod in pods(render(**values)).items():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 10000
        assert pod["automountServiceAccountToken"] is False
        # a Service's name becomes a variable: LETHE_PORT=tcp://… is no setting, VLLM_PORT no port
        assert pod["enableServiceLinks"] is False, component
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            mounted = {one["name"] for one in container["volumeMounts"]}
            assert mounted <= {one["name"] for one in pod["volumes"]}


def test_every_variable_is_a_setting(render: Render) -> None:
    for values in VARIANTS.values():
        for name in variables(pods(render(**values))["gateway"]["containers"][0]):
            model: Any = Settings
            for part in name.removeprefix("LETHE_").lower().split("__"):
                assert part in model.model_fields, name
                default = model.model_fields[part].default
                model = type(default) if isinstance(default, BaseModel) else BaseModel


def test_the_gateway_is_told_of_every_replica(render: Render) -> None:
    objects = render(**VARIANTS["several"])
    told = variables(pods(objects)["gateway"]["containers"][0])
    (served,) = of_kind(objects, "StatefulSet")
    name, service = served["metadata"]["name"], served["spec"]["serviceName"]
    assert served["spec"]["replicas"] == 2
    expected = ",".join(f"http://{name}-{i}.{service}:8000/v1" for i in range(2))
    assert told["LETHE_ENGINE__URL"] == expected
    (headless,) = (one["spec"] for one in of_kind(objects, "Service") if one["metadata"]["name"] == service)
    assert headless["clusterIP"] == "None"
    assert "--tensor-parallel-size=4" in pods(objects)["vllm"]["containers"][0]["args"]


def test_the_settings_that_the_chart_gives_are_accepted(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    (secret,) = (one["stringData"] for one in of_kind(render(), "Secret"))
    secret["registry-key"] = base64.b64encode(bytes(32)).decode()
    monkeypatch.setenv("LETHE_HOST", "0.0.0.0")  # the image's
    for name, value in variables(pods(render())["gateway"]["containers"][0]).items():
        given = value if isinstance(value, str) else secret[value["secretKeyRef"]["key"]]
        monkeypatch.setenv(name, given)
    settings = Settings()
    assert settings.engine.kind == "vllm"
    assert settings.engine.model == "demo"
    assert settings.port == 8080


def test_both_read_one_model(render: Render) -> None:
    for pod in pods(render(model={"name": "demo", "claim": "models", "path": "llama"})).values():
        (claim,) = (one["persistentVolumeClaim"] for one in pod["volumes"] if one["name"] == "model")
        assert claim == {"claimName": "models", "readOnly": True}
        (mount,) = (one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "model")
        assert mount == {"name": "model", "mountPath": "/model", "readOnly": True, "subPath": "llama"}


def test_one_gateway_lets_go_before_the_next_begins(render: Render) -> None:
    (alone,) = of_kind(render(), "Deployment")
    assert alone["spec"]["strategy"] == {"type": "Recreate"}
    (several,) = of_kind(render(**VARIANTS["several"]), "Deployment")
    assert several["spec"]["strategy"]["type"] == "RollingUpdate"
    (scaled,) = of_kind(render(**VARIANTS["autoscaled"]), "Deployment")
    assert "replicas" not in scaled["spec"]


def test_admin_calls_do_not_wait_for_vllm(render: Render) -> None:
    services = {one["metadata"]["name"]: one["spec"] for one in of_kind(render(), "Service")}
    assert services["lethe-admin"]["publishNotReadyAddresses"] is True
    assert "publishNotReadyAddresses" not in services["lethe"]
    assert services["lethe"]["selector"] == services["lethe-admin"]["selector"]


def test_rules_and_dashboard_are_the_files(render: Render, deploy: Path) -> None:
    objects = render(**VARIANTS["watched"])
    (rule,) = of_kind(objects, "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((deploy / "helm/lethe/files/alerts.yaml").read_text("utf-8"))
    (board,) = (one["data"] for one in of_kind(objects, "ConfigMap") if "lethe.json" in one["data"])
    assert board["lethe.json"].strip() == (deploy / "helm/lethe/files/dashboard.json").read_text("utf-8").strip()
    jobs = {one["spec"]["endpoints"][0]["relabelings"][0]["replacement"] for one in of_kind(objects, "ServiceMonitor")}
    assert jobs == {"lethe", "vllm"}


def test_every_monitor_finds_a_service_with_its_port(render: Render) -> None:
    objects = render(**VARIANTS["watched"])
    for monitor in of_kind(objects, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"]
        (service,) = (one for one in of_kind(objects, "Service") if selects(wanted, one["metadata"]["labels"]))
        ports = {one["name"] for one in service["spec"]["ports"]}
        assert {one["port"] for one in monitor["spec"]["endpoints"]} <= ports

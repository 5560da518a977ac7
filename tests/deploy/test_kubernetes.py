"""The manifests are what Kubernetes takes, and what the service is."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml

import service
from benchmarks.sizing import autoscaling, capacity
from service.engine.worker import INTERRUPT_SECONDS
from service.model.classifier import Classifier
from service.server import CLOSING_SECONDS, make_config
from service.settings import Settings
from tests.support.server import client_of, make_app

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
README = (FOLDER / "README.md").read_text()
OVERLAYS = ("base", "overlays/monitoring", "overlays/kserve")
CUSTOM = {"ServiceMonitor", "InferenceService"}  # whose schemas no package carries
VERSIONS = ("1.27", "1.37")  # the oldest that the README names, and the newest there is a schema for

Object = dict[str, Any]


def merged(old: Object, new: Object) -> Object:
    """A strategic merge of what our patches hold: an autoscaler's list of metrics is replaced whole."""
    both = {key: merged(old[key], new[key]) for key in old.keys() & new.keys() if isinstance(new[key], dict)}
    return old | new | both


def rendered(folder: Path) -> list[Object]:
    """What kustomize makes of a folder, as far as ours use it; anything else in it is an error here."""
    found = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert found.keys() <= {"apiVersion", "kind", "resources", "patches"}
    objects: list[Object] = []
    for name in found["resources"]:
        path = folder / name
        objects += rendered(path) if path.is_dir() else yaml.safe_load_all(path.read_text())
    for patch in found.get("patches", ()):
        assert patch.keys() == {"path"}
        new = yaml.safe_load((folder / patch["path"]).read_text())
        [index] = [index for index, one in enumerate(objects) if key(one) == key(new)]
        objects[index] = merged(objects[index], new)
    return objects


def key(found: Object) -> tuple[str, str, str]:
    return found["apiVersion"], found["kind"], found["metadata"]["name"]


def of_kind(overlay: str, kind: str) -> Object:
    [found] = [one for one in rendered(FOLDER / overlay) if one["kind"] == kind]
    return found


def pod(overlay: str) -> Object:
    """The pod's own part of a Deployment or an InferenceService."""
    if overlay != "overlays/kserve":
        return dict(of_kind(overlay, "Deployment")["spec"]["template"]["spec"])
    ours = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "deploymentStrategy")
    predictor = of_kind(overlay, "InferenceService")["spec"]["predictor"]
    return {name: value for name, value in predictor.items() if name not in ours}


def variables(container: Object) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container["env"]}


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def settings(overlay: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the service makes of the container's environment."""
    for name, value in variables(pod(overlay)["containers"][0]).items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_every_object(overlay: str, version: str) -> None:
    objects = [one for one in rendered(FOLDER / overlay) if one["kind"] not in CUSTOM]
    objects.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ovation"}, "spec": pod(overlay)})
    for one in objects:
        kubernetes_validate.validate(one, version, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    deployment = of_kind("base", "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


@pytest.mark.skipif(not (shutil.which("kustomize") or shutil.which("kubectl")), reason="neither kustomize nor kubectl")
def test_kustomize_renders_the_same(overlay: str) -> None:
    command = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]
    done = subprocess.run([*command, str(FOLDER / overlay)], capture_output=True, text=True, check=True)
    theirs = sorted(yaml.safe_load_all(done.stdout), key=key)
    assert theirs == sorted(rendered(FOLDER / overlay), key=key)


def test_what_needs_no_custom_resource_has_none() -> None:
    assert not CUSTOM & {one["kind"] for one in rendered(FOLDER / "base")}


def test_the_image_is_of_this_version(overlay: str) -> None:
    assert [one["image"] for one in pod(overlay)["containers"]] == [f"ovation:{service.__version__}"]


def test_the_environment_is_of_settings(overlay: str, settings: Settings) -> None:
    names = variables(pod(overlay)["containers"][0])
    assert {name.removeprefix("OVATION_").lower() for name in names} <= set(Settings.model_fields)
    assert settings.host == "0.0.0.0"
    assert settings.workers == 1


def test_no_variable_of_kubernetes_becomes_a_setting(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pod(overlay)["enableServiceLinks"] is False
    monkeypatch.setenv("OVATION_PORT", "tcp://10.0.0.1:80")  # what a Service called ovation would bring
    with pytest.raises(ValueError, match="port"):
        Settings()


def test_probes_are_answered(overlay: str, settings: Settings, tiny_classifier: Classifier) -> None:
    [container] = pod(overlay)["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = [container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")]
    paths = [probe["httpGet"]["path"] for probe in probes]
    assert paths == ["/health/startup", "/health/live", "/health/ready"]
    assert {ports[probe["httpGet"]["port"]] for probe in probes} == {settings.port}

    async def statuses() -> list[int]:
        async with client_of(make_app(tiny_classifier)) as client:
            return [(await client.get(path)).status_code for path in paths]

    assert asyncio.run(statuses()) == [200] * 3


def test_termination_leaves_time_for_all_that_ends_a_service(overlay: str, settings: Settings) -> None:
    closing = CLOSING_SECONDS + settings.hang_seconds + INTERRUPT_SECONDS
    seconds = pod(overlay)["terminationGracePeriodSeconds"]
    assert seconds > settings.pre_stop_seconds + settings.grace_seconds + closing
    assert settings.grace_seconds > settings.timeout_seconds
    # Each kept connection is closed with an answer or for being idle before nobody is accepted any more.
    idle = make_config("service.server:worker", settings).timeout_keep_alive
    assert settings.pre_stop_seconds > idle
    assert f"asks nothing for {idle} s" in README
    assert "lifecycle" not in pod(overlay)["containers"][0]
    told = dict(re.findall(r"^\| `?(\w+)`? \| (\d+) \| ", README, re.MULTILINE))
    assert told == {
        "OVATION_PRE_STOP_SECONDS": f"{settings.pre_stop_seconds:.0f}",
        "OVATION_GRACE_SECONDS": f"{settings.grace_seconds}",
        "closing": f"{closing:.0f}",
        "terminationGracePeriodSeconds": f"{seconds}",
    }


def test_the_pod_is_restricted(overlay: str) -> None:
    """The Pod Security Standard of that name, and a root file system that is read-only."""
    found = pod(overlay)
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["securityContext"]["runAsUser"] == 10001
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert found["automountServiceAccountToken"] is False
    assert all(volume.keys() == {"name", "emptyDir"} for volume in found["volumes"])
    [container] = found["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not found.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert all("hostPort" not in port for port in container["ports"])


def test_a_pod_has_whole_cores_of_its_own(overlay: str) -> None:
    resources = pod(overlay)["containers"][0]["resources"]
    assert resources["requests"] == resources["limits"]
    assert int(resources["limits"]["cpu"]) == 1  # the unit of the measurements and of the simulation


def test_kserve_runs_the_same_pod() -> None:
    base, kserve = pod("base"), pod("overlays/kserve")
    del base["topologySpreadConstraints"]  # by a label that KServe does not set
    assert base["containers"][0].pop("name") == "ovation"
    assert kserve["containers"][0].pop("name") == "kserve-container"
    assert kserve == base
    scaled, predictor = of_kind("base", "HorizontalPodAutoscaler"), of_kind("overlays/kserve", "InferenceService")
    for name in ("minReplicas", "maxReplicas"):
        assert predictor["spec"]["predictor"][name] == scaled["spec"][name]
    target = scaled["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"]
    assert predictor["spec"]["predictor"]["scaleTarget"] == target


def test_all_select_the_pods() -> None:
    labels = of_kind("base", "Deployment")["spec"]["template"]["metadata"]["labels"]
    spec = {one["kind"]: one["spec"] for one in rendered(FOLDER / "overlays/monitoring")}
    assert spec["Deployment"]["selector"]["matchLabels"] == labels
    assert spec["Service"]["selector"] == labels
    assert spec["PodDisruptionBudget"]["selector"]["matchLabels"] == labels
    assert spec["NetworkPolicy"]["podSelector"]["matchLabels"] == labels
    assert spec["ServiceMonitor"]["selector"]["matchLabels"] == of_kind("base", "Service")["metadata"]["labels"]
    assert (
        spec["HorizontalPodAutoscaler"]["scaleTargetRef"]["name"] == of_kind("base", "Deployment")["metadata"]["name"]
    )
    [container] = spec["Deployment"]["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in spec["Service"]["ports"]} <= ports
    assert {port["port"] for port in spec["NetworkPolicy"]["ingress"][0]["ports"]} <= ports
    assert {one["port"] for one in spec["ServiceMonitor"]["endpoints"]} <= {
        one["name"] for one in spec["Service"]["ports"]
    }
    assert "replicas" not in spec["Deployment"]  # they are the autoscaler's


def test_the_autoscaler_finds_its_metric(tiny_classifier: Classifier) -> None:
    async def scraped() -> httpx.Response:
        path = of_kind("overlays/monitoring", "ServiceMonitor")["spec"]["endpoints"][0]["path"]
        async with client_of(make_app(tiny_classifier)) as client:
            return await client.get(path)

    answer = asyncio.run(scraped())
    assert answer.status_code == 200
    live = set(re.findall(r"^(ovation_\w+)", answer.text, re.MULTILINE))
    [rule] = yaml.safe_load((FOLDER / "overlays/monitoring/prometheus-adapter.yaml").read_text())["rules"]["custom"]
    [series] = re.findall(r"^\w+", rule["seriesQuery"])
    queried = set(re.findall(r"ovation_\w+", rule["metricsQuery"]))
    assert queried == {"ovation_queue_seconds_sum", "ovation_queue_seconds_count"}
    assert queried | {series} <= live
    assert re.fullmatch(rule["name"]["matches"], series)
    asked = [one["pods"]["metric"]["name"] for one in of_kind("overlays/monitoring", "HorizontalPodAutoscaler")["spec"][
        "metrics"] if one["type"] == "Pods"]  # fmt: skip
    assert asked == [rule["name"]["as"]]


def test_the_simulation_is_of_this_autoscaler() -> None:
    assert autoscaling.autoscaler_spec() == of_kind("overlays/monitoring", "HorizontalPodAutoscaler")["spec"]


def test_the_readme_is_of_these_files() -> None:
    for path in re.findall(r"deploy/kubernetes/([\w./-]+)", README) + re.findall(r"\]\(([\w./-]+)\)", README):
        assert (FOLDER / path).exists(), path
    rate = f"{capacity.rates().single:,.0f} reviews/s a pod"
    assert rate in README, "python -m benchmarks.sizing.autoscaling was not run since the rate was measured"

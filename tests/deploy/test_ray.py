"""The RayJob is what KubeRay and Kubernetes take, and what it runs is the command line.

`rayjob.json` is the schema of KubeRay's RayJob (ray.io/v1, of its CRD in version 1.6), without descriptions and without
pods, which are checked against Kubernetes' own schema; fields that it does not know are refused.
"""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

import service
from service.__main__ import main
from tests.deploy.test_kubernetes import VERSIONS

ROOT = Path(__file__).parents[2]
JOB: dict[str, Any] = yaml.safe_load((ROOT / "deploy/ray/rayjob.yaml").read_text())
SCHEMA = json.loads((Path(__file__).parent / "rayjob.json").read_text())
CLUSTER = JOB["spec"]["rayClusterSpec"]
PODS = [CLUSTER["headGroupSpec"]["template"]["spec"], *(one["template"]["spec"] for one in CLUSTER["workerGroupSpecs"])]
DOCKERFILE = (ROOT / "deploy/ray/Dockerfile").read_text()


def test_kuberay_takes_it() -> None:
    jsonschema.validate(JOB, SCHEMA)


def test_a_misspelt_field_would_be_found() -> None:
    with pytest.raises(jsonschema.ValidationError, match="entryPoint"):
        jsonschema.validate({**JOB, "spec": {**JOB["spec"], "entryPoint": "x"}}, SCHEMA)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_its_pods(version: str) -> None:
    for pod in PODS:
        one = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ovation"}, "spec": pod}
        kubernetes_validate.validate(one, version, strict=True)


def test_the_entrypoint_is_the_command_line() -> None:
    python, dash_m, module, *words = shlex.split(JOB["spec"]["entrypoint"])
    assert (python, dash_m, module) == ("python", "-m", "service")
    name, command, rest = main.resolve_command(main.make_context("ovation", [*words], resilient_parsing=True), words)
    assert name == "score"
    assert command is not None
    context = command.make_context("score", rest)
    assert context.params["engine"] == "ray"
    assert f"COPY ${{BUNDLE}} {context.params['bundle']}\n" in DOCKERFILE


def test_versions_agree() -> None:
    [locked] = re.findall(r"^ray==(\S+)", (ROOT / "requirements/ray.txt").read_text(), re.MULTILINE)
    assert CLUSTER["rayVersion"] == locked
    assert f"FROM rayproject/ray:{locked}-py311-cpu\n" in DOCKERFILE
    images = {container["image"] for pod in PODS for container in pod["containers"]}
    assert images == {f"ovation-ray:{service.__version__}"}


def test_pods_have_few_rights() -> None:
    for pod in PODS:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"] == container["resources"]["limits"]

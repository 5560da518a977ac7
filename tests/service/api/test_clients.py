"""Other people's newest clients against a real server: their answers, and what a user sees of a refusal."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest

from service.app import create_app
from service.model import bundle
from service.model.classifier import Classifier
from service.settings import Settings
from tests.service.api.conftest import ranked
from tests.support.connection import until
from tests.support.server import Held, make_app, serving

ROOT = Path(__file__).parents[3]
CLIENTS = ROOT / "tests" / "clients"
PYTHON = str(ROOT / ".venv-clients" / "bin" / "python")
PROGRAMS = {
    "huggingface": [PYTHON, f"{CLIENTS}/ask_huggingface.py"],
    "huggingface js": ["node", f"{CLIENTS}/ask_huggingface.mjs"],
    "triton": [PYTHON, f"{CLIENTS}/ask_triton.py"],
    "kserve": [PYTHON, f"{CLIENTS}/ask_kserve.py"],
}
TEXTS = ["The film was wonderful — café 🙂!", "awful"]  # as in the programs
LONG = "fine " * 30_000
# Hugging Face's own settings: nothing but the service is asked.
ENVIRONMENT = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}


@pytest.fixture(scope="module", autouse=True)
def _clients() -> None:
    """Skips where the clients are not installed; CI has them."""
    if (ROOT / ".venv-clients" / ".clients").exists():
        return
    reason = "expected huggingface_hub, tritonclient, kserve and @huggingface/inference, found none: run make clients"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def url(tiny_classifier: Classifier) -> Iterator[str]:
    """A service that answers."""
    with serving(make_app(tiny_classifier, max_body_bytes=100_000, timeout_seconds=60)) as found:
        yield found


@pytest.fixture(scope="module")
def full(tiny_classifier: Classifier) -> Iterator[str]:
    """One text runs and does not end, another waits, and there is no room for a third."""
    held = Held(tiny_classifier)
    app = make_app(held, max_texts=1, max_waiting_texts=1, timeout_seconds=100, hang_seconds=100)
    with serving(app) as found, ExitStack() as stack:
        stack.callback(ask_aside(f"{found}/predict").join)
        stack.callback(held.gate.set)
        assert held.entered.acquire(timeout=30)
        stack.callback(ask_aside(f"{found}/predict").join)
        stack.callback(held.gate.set)
        until(found, 1, "ovation_waiting_texts")
        yield found


@pytest.fixture(scope="module")
def lost(tiny_classifier: Classifier) -> Iterator[str]:
    """Its inference hangs; the process would end soon, for a supervisor to start another."""
    held = Held(tiny_classifier)
    app = create_app(Settings(threads=1, hang_seconds=0.1), cast(Classifier, held), end=lambda code: None)
    with serving(app) as found, ExitStack() as stack:
        stack.callback(held.gate.set)
        assert httpx.post(f"{found}/predict", json={"text": "fine"}, timeout=30).status_code == 500
        yield found


def ask_aside(url: str) -> threading.Thread:
    """Asks in a thread, which is started."""
    thread = threading.Thread(target=lambda: httpx.post(url, json={"text": "fine"}, timeout=100))
    thread.start()
    return thread


@pytest.fixture(scope="module")
def answers(url: str, full: str, lost: str, tiny_classifier: Classifier) -> dict[str, Any]:
    """What each program prints; they run side by side, since they mostly import."""
    addresses = [url, full, lost, tiny_classifier.manifest.name]
    running = {
        name: subprocess.Popen(
            [*command, *addresses], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for name, command in PROGRAMS.items()
    }
    found = {}
    for name, process in running.items():
        with process:
            output, errors = process.communicate(timeout=100)
        assert process.returncode == 0, (name, errors)
        found[name] = json.loads(output)
    return found


@pytest.fixture(scope="module")
def native(url: str) -> list[dict[str, float]]:
    """The probabilities that `/predict` answers to TEXTS."""
    return [httpx.post(f"{url}/predict", json={"text": text}).json()["probabilities"] for text in TEXTS]


@pytest.fixture(scope="module")
def reasons(url: str, full: str, lost: str) -> dict[str, str]:
    """What `/predict` says of the refusals that the programs ask for, by status; without the field's name."""
    found = {}
    for asked, text in ((url, LONG), (url, " "), (full, TEXTS[0]), (lost, TEXTS[0])):
        refused = httpx.post(f"{asked}/predict", json={"text": text})
        found[str(refused.status_code)] = refused.json()["error"].removeprefix("text: ")
    assert list(found) == ["413", "422", "429", "503"]
    return found


@pytest.mark.parametrize("name", ["huggingface", "huggingface js"])
def test_hugging_face(
    answers: dict[str, Any], native: list[dict[str, float]], reasons: dict[str, str], name: str
) -> None:
    found, expected = answers[name], ranked(native[0])
    assert found["text"] == expected
    assert found["top_k"] == expected[:1]
    if name == "huggingface":
        assert found["async"] == [expected] * 8
        assert [row["label"] for row in found["none"]] == [row["label"] for row in expected]
        assert found["health"] is True
        assert found["info"]["max_client_batch_size"] == 256
    else:
        assert found["endpoint"] == found["function"] == expected
    assert (found["list"]["status"], "expected one text, found a list" in found["list"]["reason"]) == (422, True)
    assert found["404"]["status"] == 404
    for status, reason in reasons.items():
        assert (found[status]["status"], reason in found[status]["reason"]) == (int(status), True), found[status]
        assert found[status]["request_id"]


def check_tensors(found: dict[str, Any], native: list[dict[str, float]]) -> None:
    """As FP32, bit for bit what `/predict` answers."""
    assert found["label"] == [max(each, key=lambda label: each[label]) for each in native]
    assert found["score"] == np.array([max(each.values()) for each in native], np.float32).tolist()
    assert found["probabilities"] == np.array([list(each.values()) for each in native], np.float32).tolist()


def test_triton(
    answers: dict[str, Any], native: list[dict[str, float]], reasons: dict[str, str], tiny_classifier: Classifier
) -> None:
    found = answers["triton"]
    name, version = tiny_classifier.name.split("@")
    for each in found["infer"]:
        check_tensors(each, native)
        assert each["version"] == version
    assert len(found["infer"]) == 9
    assert found["id"]["id"] == "прим-😍"
    assert found["some"].keys() == {"label", "probabilities", "id", "version"}
    assert (found["live"], found["ready"], found["model ready"]) == (True, True, [True, False])
    assert found["asyncio health"] is True
    assert found["model"] == found["asyncio model"]
    assert (found["model"]["name"], found["model"]["versions"]) == (name, [version])
    assert "binary_tensor_data" in found["server"]["extensions"]
    assert found["index"] == [{"name": name, "version": version, "state": "READY", "reason": ""}]
    assert {each["status"] for each in found["404"]} == {404}
    assert found["504"]["status"] == 504
    for status, reason in reasons.items():
        for each in found[status] if isinstance(found[status], list) else [found[status]]:
            assert (each["status"], reason in each["reason"]) == (int(status), True), each


def test_kserve(
    answers: dict[str, Any], native: list[dict[str, float]], reasons: dict[str, str], tiny_classifier: Classifier
) -> None:
    found = answers["kserve"]
    for each in found["infer"]:
        check_tensors(each, native)
        assert each["model"] == tiny_classifier.manifest.name
    assert found["id"]["id"] == "k-1"
    assert found["some"].keys() == {"label", "score", "id", "model"}
    assert (found["live"], found["ready"], found["model ready"]) == (True, True, [True, False])
    assert found["404"]["status"] == 404
    for status, reason in reasons.items():
        each = found[status]
        assert (each["status"], reason in each["reason"]) == (int(status), True), each


def test_the_examples_for_clients_print_what_the_page_says() -> None:
    """Each example in docs/clients.md is run, and prints the block that follows it."""
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```(python|js)\n(.*?)^```\n\n```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(examples) == len(re.findall(r"^```(?:python|js)$", page, re.MULTILINE)) >= 4
    classifier = Classifier(bundle.read(ROOT / "models" / "reviews-bilstm"), "cpu")
    with serving(make_app(classifier)) as url:
        running = []
        for language, code, printed in examples:
            code = code.replace("http://127.0.0.1:8000", url).replace("127.0.0.1:8000", url.removeprefix("http://"))
            command = [PYTHON, "-W", "ignore", "-"] if language == "python" else ["node", "--input-type=module", "-"]
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=CLIENTS,
                env=ENVIRONMENT,
            )
            running.append((process, code, printed))
        for process, code, printed in running:
            with process:
                output, errors = process.communicate(code, timeout=100)
            assert (process.returncode, output) == (0, printed), errors

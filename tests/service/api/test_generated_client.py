"""A client that openapi-python-client generates from the service's own document, used as its reader would."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.model.classifier import Classifier
from tests.support.server import make_app, serving

# An environment of its own: typer of the generator is older than what transformers wants. `.ci/run` makes it.
ENVIRONMENT = Path(__file__).parents[3] / ".venv-generator" / "bin"

SCRIPT = """
import json, sys
from generated import Client
from generated.api.operate import model_model_get
from generated.api.predict import predict_batch_predict_batch_post, predict_predict_post
from generated.models import Failure, PredictBatchRequest, PredictBatchRequestOnError, PredictRequest
from generated.models import PredictRequestOffsets, Prediction, Predictions, ProblemDetails

text = "Good film 🙂. Awful ending."
with Client(base_url=sys.argv[1], raise_on_unexpected_status=True) as client:
    one = predict_predict_post.sync(
        client=client,
        body=PredictRequest(text, sentences=True, evidence=True, offsets=PredictRequestOffsets.UTF16),
        x_request_timeout_ms=9000,
    )
    assert type(one) is Prediction
    assert len(one.evidence.tokens) == one.tokens
    bad = predict_predict_post.sync_detailed(client=client, body=PredictRequest(" "))
    assert bad.status_code == 422 and type(bad.parsed) is ProblemDetails
    body = PredictBatchRequest(["good", " "], on_error=PredictBatchRequestOnError.ITEM)
    many = predict_batch_predict_batch_post.sync(client=client, body=body)
    assert type(many) is Predictions
    good, failed = many.predictions
    assert type(failed) is Failure
    model = model_model_get.sync(client=client)
    told = {
        "one": one.to_dict(), "bad": bad.parsed.detail, "good": good.to_dict(), "failed": failed.problem.detail,
        "model": model.model,
    }
print(json.dumps(told))
"""


def test_a_generated_client_asks_and_understands(tiny_classifier: Classifier, tmp_path: Path) -> None:
    if not ENVIRONMENT.is_dir():
        reason = "expected openapi-python-client in .venv-generator, found no such environment: see .ci/run"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with serving(make_app(tiny_classifier)) as url:
        (tmp_path / "config.yml").write_text("post_hooks: []\n")  # else it wants ruff, to format
        generated = run(
            "openapi-python-client", "generate", "--url", f"{url}/openapi.json", "--config", "config.yml",
            "--meta", "none", "--output-path", "generated", folder=tmp_path,
        )  # fmt: skip
        # Lines of JSON are not among the media types that it knows.
        warnings = re.findall("WARNING parsing (.*)", generated)
        assert {warning.split(" within")[0] for warning in warnings} <= {"POST /predict/stream"}
        told = json.loads(run("python", "-c", SCRIPT, url, folder=tmp_path))
        text = "Good film 🙂. Awful ending."
        body: dict[str, Any] = {"text": text, "sentences": True, "evidence": True, "offsets": "utf16"}
        assert told["one"] == httpx.post(f"{url}/predict", json=body).json()
        good = httpx.post(f"{url}/predict", json={"text": "good"}).json()
    assert {**told["good"], "model": told["model"]} == good
    blank = "expected a text with at least one visible character, found only white space"
    assert (told["bad"], told["failed"]) == (f"text: {blank}", blank)


def run(program: str, *arguments: str, folder: Path) -> str:
    """What it prints."""
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [ENVIRONMENT / program, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + (done.stderr if program != "python" else "")

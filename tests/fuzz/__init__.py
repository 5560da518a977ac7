"""Requests made up by schemathesis from the service's own OpenAPI and for the web page, sent to a real server.

`python -m tests.fuzz` sends many; the tests send a few.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.process import Service, service

ROOT = Path(__file__).parents[2]
BESIDE = "beside"
_KEY = "a-key-that-opens-all"


@dataclass
class Run:
    """What a run of schemathesis found."""

    passed: bool
    cases: int
    failures: int  # kinds of them, by operation
    seed: int
    output: str  # its report for people; each failure comes with a curl command


@contextlib.contextmanager
def fuzzed(bundle: Path) -> Iterator[Service]:
    """The service with keys, the admin's routes, and a folder BESIDE the one that it serves, with the same bundle."""
    with tempfile.TemporaryDirectory() as parent:
        for name in ("served", BESIDE):
            shutil.copytree(bundle, Path(parent) / name)
        served, callers, admins = Path(parent) / "served", "caller=a-key-of-a-caller", f"admin={_KEY}"
        with service(served, module="service", api_keys=callers, admin_keys=admins) as running:
            yield running


def fuzz(url: str, cases: int, seed: int | None = None) -> Run:
    """Sends at least `cases` requests to a `fuzzed` service at `url`; a `seed` makes the same again."""
    headers = {"X-API-Key": _KEY}
    document = httpx.get(f"{url}/openapi.json").json()
    # Those of which there are many different requests; of others there are some twenty, whatever the limit.
    varied = sum(
        not path.startswith("/admin/") and ("requestBody" in operation or "security" in operation)
        for path, operations in document["paths"].items()
        for operation in operations.values()
    )
    document["paths"] |= page_routes(document)
    with tempfile.TemporaryDirectory() as folder:
        report, routes = Path(folder) / "report.json", Path(folder) / "openapi.json"
        routes.write_text(json.dumps(document))
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            f"--config-file={ROOT / 'tests/fuzz/schemathesis.toml'}",
            "--no-color",
            "run",
            str(routes),
            f"--url={url}",
            "--checks=all",
            f"--max-examples={-(-cases // varied)}",  # by operation
            "--suppress-health-check=all",  # how fast and how varied Hypothesis' own data is
            "--continue-on-failure",
            "--generation-database=none",
            "--report=json",
            f"--report-json-path={report}",
            *([] if seed is None else [f"--seed={seed}"]),
            *(f"--header={name}: {value}" for name, value in headers.items()),
        ]
        served = httpx.get(f"{url}/model", headers=headers).json()["model"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "SERVED_MODEL": served}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        if not report.exists():
            raise RuntimeError(f"expected a report of schemathesis, found none:\n{output}")
        found = json.loads(report.read_text())
    tally = found["test_cases"]
    complete = found["stop_reason"] == "completed" and not found["errors"] and found["operations"]["skipped"] == 0
    return Run(done.returncode == 0 and complete, tally["generated"], tally["unique_failures"], found["seed"], output)


def page_routes(document: dict[str, Any]) -> dict[str, Any]:
    """The routes of files, which `document` does not tell of: those of the web page, and its own."""
    refusals = document["paths"]["/model"]["get"]["responses"]
    missing = document["paths"]["/v2/models/{model}"]["get"]["responses"]["404"]
    missing = missing | {"content": {"application/problem+json": missing["content"]["application/json"]}}

    def get(*media_types: str, name: str | None = None) -> dict[str, Any]:
        responses = refusals | {"200": {"description": "", "content": {each: {} for each in media_types}}}
        if name is None:
            return {"get": {"responses": responses}}
        parameter = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}, "example": name}
        return {"get": {"parameters": [parameter], "responses": responses | {"404": missing}}}

    files = ("text/css", "text/javascript", "image/svg+xml")
    return {
        "/": get("text/html"),
        "/page/{name}": get(*files, name="app.js"),
        "/docs": get("text/html"),
        "/docs/{name}": get(*files, name="swagger-ui.css"),
        "/openapi.json": get("application/json"),
    }

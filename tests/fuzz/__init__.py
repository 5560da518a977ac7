"""Requests made up by schemathesis from the service's own OpenAPI, sent to a real server.

`python -m tests.fuzz --cases 10000` runs many; the tests run a few.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


@dataclass
class Run:
    """What a run of schemathesis found."""

    passed: bool
    cases: int
    failures: int  # kinds of them, by operation
    seed: int
    output: str  # its report for people; each failure comes with a curl command


def fuzz(url: str, cases: int, seed: int | None = None, key: str | None = None) -> Run:
    """Sends at least `cases` requests to the service at `url`, which needs `key`; a `seed` makes the same again."""
    headers = {} if key is None else {"X-API-Key": key}
    operations = httpx.get(f"{url}/openapi.json").json()["paths"].values()
    with_bodies = sum("requestBody" in operation for path in operations for operation in path.values())
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            f"--config-file={ROOT / 'tests/fuzz/schemathesis.toml'}",
            "--no-color",
            "run",
            f"{url}/openapi.json",
            "--checks=all",
            # A limit by operation; one without parameters has few different requests.
            f"--max-examples={-(-cases // with_bodies)}",
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

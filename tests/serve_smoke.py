"""Runs `make serve` in a clean copy under each Python named, and asks it one question: `serve_smoke.py PYTHON...`.

Needs nothing but Python, git and make. One line a Python; the exit code is 1 if any of them failed.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 600  # most of all for the download of the packages
TEXT = "An absolute joy from start to finish."


def copy(folder: Path) -> None:
    """Copies what git knows or would add, as it stands in the working tree."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():  # not where it has been deleted and is still known
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def predict(url: str) -> tuple[int, str]:
    """Status and label of the answer of POST /predict."""
    body, headers = json.dumps({"text": TEXT}).encode(), {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/predict", body, headers), timeout=30) as answer:
        return answer.status, json.load(answer)["label"]


def serve(folder: Path, python: str) -> None:
    """Asks `make serve` in `folder`, then the command that it has left there; ends all that it started."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OVATION_")}
    environment = {**ours, "OVATION_PORT": "0", "OVATION_LOG_FORMAT": "json"}
    make = subprocess.Popen(
        ["make", "serve", f"PYTHON={python}"], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    patience = threading.Timer(SECONDS, os.killpg, (make.pid, signal.SIGKILL))
    patience.start()
    try:
        assert make.stdout is not None
        written = ""
        for line in make.stdout:
            written += line
            if '"event":"ready"' in line:  # uvicorn logs the address a moment before it is listened on
                break
        url = re.search(r"http://127\.0\.0\.1:\d+", written)
        assert url, written
        assert predict(url[0]) == (200, "positive")
        command = [".venv/bin/ovation", "predict", TEXT]
        done = subprocess.run(command, cwd=folder, env=ours, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["label"] == "positive"
    finally:
        patience.cancel()
        if make.poll() is None:
            os.killpg(make.pid, signal.SIGTERM)
        make.communicate()


def main(pythons: list[str]) -> int:
    """Tries each Python, whatever became of those before; how many failed."""
    failed = 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # so that what was started is ended
    for python in pythons:
        began, outcome, told = time.monotonic(), "ok", ""
        with tempfile.TemporaryDirectory(prefix="ovation-serve-") as name:
            try:
                copy(Path(name))
                serve(Path(name), python)
            except Exception as error:
                outcome, told, failed = "FAILED", f"\n{type(error).__name__}: {error}", failed + 1
        print(f"{outcome:6}  make serve PYTHON={python}: {time.monotonic() - began:.0f} s{told}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)

"""Other ways to serve the same bundle over HTTP, one review a request; `python -m benchmarks.peers` tries them all.

Each runs in a virtual environment of its own, under settings that its own documentation recommends for one core.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.servers import ROOT, Server, Unavailable, free_port, running

RUNS = ROOT / "runs"


def _body(text: str) -> bytes:
    return json.dumps({"text": text}).encode()


def _probabilities(answer: bytes) -> dict[str, float]:
    found: dict[str, float] = json.loads(answer)["probabilities"]
    return found


def _list_body(text: str) -> bytes:
    return json.dumps({"texts": [text]}).encode()


def _list_probabilities(answer: bytes) -> dict[str, float]:
    [found] = json.loads(answer)
    probabilities: dict[str, float] = found["probabilities"]
    return probabilities


def _v2_body(text: str) -> bytes:
    return json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}).encode()


def _v2_probabilities(answer: bytes) -> dict[str, float]:
    outputs: list[dict[str, Any]] = json.loads(answer)["outputs"]
    return {output["name"]: output["data"][0] for output in outputs if output["datatype"] == "FP64"}


@dataclass(frozen=True)
class Peer:
    """A server of the bundle: how to start it, how to ask it, and how to read its answer."""

    name: str
    module: str  # under benchmarks.peers; run with --model, --port and `arguments`
    requirements: str  # the stem of the file beside this one, and of the environment's folder
    arguments: tuple[str, ...] = ()
    path: str = "/predict"  # POST one review here
    ready_path: str = "/health"  # answers 200 when it can be asked
    body: Callable[[str], bytes] = _body  # the JSON of one review's request
    probabilities: Callable[[bytes], dict[str, float]] = _probabilities  # reads the answer
    variables: Mapping[str, str] = field(default_factory=dict)

    def command(self, python: Path, port: int, model: Path) -> list[str]:
        """What starts the server on 127.0.0.1:`port`."""
        options = ["--model", str(model.absolute()), "--port", str(port), *self.arguments]
        return [str(python), "-m", f"benchmarks.peers.{self.module}", *options]

    @property
    def environment_variables(self) -> dict[str, str]:
        """What the server needs in its environment, besides what is there."""
        # Every peer has one core; libraries that count the machine's cores would start threads that fight for it.
        threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
        return {"PYTHONUNBUFFERED": "1", **threads, **self.variables}


PEERS = (
    Peer("fastapi-inline", "fastapi_plain", "fastapi", ("--inline",)),
    Peer("fastapi-threadpool", "fastapi_plain", "fastapi", ("--threadpool",)),
    Peer("litserve", "litserve_server", "litserve"),
    Peer(
        "bentoml",
        "bentoml_server",
        "bentoml",
        ready_path="/readyz",
        # BentoML joins lists into batches, so that a review travels as a list of one.
        body=_list_body,
        probabilities=_list_probabilities,
        # Its home would otherwise be ~/bentoml.
        variables={"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(RUNS / "bench-bentoml" / "home")},
    ),
    Peer(
        "mlserver",
        "mlserver_model",
        "mlserver",
        path="/v2/models/sentiment/infer",
        ready_path="/v2/models/sentiment/ready",
        body=_v2_body,
        probabilities=_v2_probabilities,
    ),
    Peer(
        "ray-serve",
        "ray_server",
        "ray",
        ready_path="/predict",
        # A Ray that may become a cluster listens on every interface; its name notwithstanding, this works on Linux too.
        variables={"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
    ),
)


def environment(name: str) -> Path:
    """The python of the environment that the peer `name` runs in, made first if need be. Raises Unavailable."""
    [peer] = [peer for peer in PEERS if peer.name == name]
    requirements = Path(__file__).with_name(f"{peer.requirements}.txt")
    folder = RUNS / f"bench-{peer.requirements}"
    python, marker = folder / "bin" / "python", folder / ".complete"
    # The marker comes last and names what was installed, so that a half-made or an outdated one is made anew.
    wanted = f"{sys.version}\n{hashlib.sha256(requirements.read_bytes()).hexdigest()}\n"
    if marker.exists() and marker.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
    for command in ([sys.executable, "-m", "venv", str(folder)], pip):
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""}
        )
        if done.returncode:
            output = (done.stdout + done.stderr).strip()
            raise Unavailable(f"{peer.name}: {' '.join(command)} failed: {output[-1000:]}")
    marker.write_text(wanted)
    return python


def serving(peer: Peer, model: Path, cores: Collection[int]) -> AbstractContextManager[Server]:
    """The server of `peer`, ready on `cores`. Raises Unavailable."""
    port = free_port()
    command = peer.command(environment(peer.name), port, model)
    return running(command, port, cores, peer.environment_variables, peer.ready_path)

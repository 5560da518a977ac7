"""Other servers of the same bundle over HTTP, one review a request; `python -m benchmarks.peers` checks them all.

Each runs in a virtual environment of its own, with the settings that its documentation recommends for one core.
"""

import json
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.environments import RUNS, environment
from benchmarks.load.servers import Server, free_port, running


def _body(text: str) -> bytes:
    return json.dumps({"text": text}).encode()


def _probabilities(answer: bytes) -> dict[str, float]:
    probabilities: dict[str, float] = json.loads(answer)["probabilities"]
    return probabilities


def _list_body(text: str) -> bytes:
    return json.dumps({"texts": [text]}).encode()


def _list_probabilities(answer: bytes) -> dict[str, float]:
    [prediction] = json.loads(answer)
    probabilities: dict[str, float] = prediction["probabilities"]
    return probabilities


def _v2_body(text: str) -> bytes:
    return json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}).encode()


def _v2_probabilities(answer: bytes) -> dict[str, float]:
    outputs: list[dict[str, Any]] = json.loads(answer)["outputs"]
    return {output["name"]: output["data"][0] for output in outputs if output["datatype"] == "FP64"}


@dataclass(frozen=True)
class Peer:
    """A server of the bundle: how to start it, how to send a review, and how to read the answer."""

    name: str
    module: str  # under benchmarks.peers; run with --model, --port and `arguments`
    requirements: str  # the stem of the file beside this one, and of the environment's folder
    arguments: tuple[str, ...] = ()
    path: str = "/predict"  # for the POST of one review
    ready_path: str = "/health"  # answers 200 when the server is ready
    body: Callable[[str], bytes] = _body  # the JSON of one review's request
    probabilities: Callable[[bytes], dict[str, float]] = _probabilities  # reads the answer
    variables: Mapping[str, str] = field(default_factory=dict)

    def command(self, python: Path, port: int, model: Path) -> list[str]:
        """The command that starts the server on 127.0.0.1:`port`."""
        options = ["--model", str(model.absolute()), "--port", str(port), *self.arguments]
        return [str(python), "-m", f"benchmarks.peers.{self.module}", *options]

    @property
    def environment_variables(self) -> dict[str, str]:
        """Environment variables for the server, added to this process's."""
        # Every peer has one core: one thread a library, since libraries would start one for each core of the machine.
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
        # BentoML joins the lists of several requests into a batch: a request holds a list of one review.
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
        # With clusters enabled Ray listens on every interface; the variable works on Linux too, despite its name.
        variables={"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
    ),
)


def serving(peer: Peer, model: Path, cores: Collection[int]) -> AbstractContextManager[Server]:
    """The server of `peer`, ready on `cores`. Raises Unavailable."""
    port = free_port()
    command = peer.command(environment(Path(__file__).with_name(f"{peer.requirements}.txt")), port, model)
    return running(command, port, cores, peer.environment_variables, peer.ready_path)

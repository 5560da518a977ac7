"""Ray Serve: one replica behind Ray's HTTP proxy, in a local Ray of one core."""

import os
import secrets
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

import click
import ray
from ray import serve
from ray.serve._private import replica
from ray.serve.config import HTTPOptions
from ray.serve.schema import LoggingConfig
from starlette.requests import Request

from service.model import bundle
from service.model.classifier import Classifier

BATCH, WAIT_SECONDS, ONGOING = 8, 0.001, 128


@serve.deployment(num_replicas=1, max_ongoing_requests=ONGOING)
class Sentiment:
    """The deployment; Ray makes one in its replica."""

    def __init__(self, model: Path, batch: int, wait_seconds: float) -> None:
        # Bind to 127.0.0.1: Ray binds this process's gRPC port to every interface, and has no setting for it.
        bind = replica.add_port_to_grpc_server
        replica.add_port_to_grpc_server = lambda server, _: bind(server, "127.0.0.1:0")
        self.classifier = Classifier(bundle.read(model), "cpu")
        self.predict.set_max_batch_size(batch)
        self.predict.set_batch_wait_timeout_s(wait_seconds)

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_SECONDS)  # type: ignore[untyped-decorator]
    async def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """Predicts a batch; `serve.batch` lets callers pass one text, and joins the texts of several calls."""
        return [
            {"label": prediction.label, "score": prediction.score, "probabilities": prediction.probabilities}
            for prediction in self.classifier(texts)
        ]

    async def __call__(self, request: Request) -> Any:
        """Answers one request; a GET shows that the replica is ready, and not only the proxy."""
        if request.method == "GET":
            return "ready"
        return await self.predict((await request.json())["text"])


@click.command()
@click.option("--model", type=click.Path(path_type=Path), required=True)
@click.option("--port", type=int, required=True)
@click.option("--batch", type=click.IntRange(1), default=BATCH)
@click.option("--wait-seconds", type=float, default=WAIT_SECONDS)
def main(model: Path, port: int, batch: int, wait_seconds: float) -> None:
    """Serves until SIGTERM."""
    if ray.util.get_node_ip_address() != "127.0.0.1":
        raise click.ClickException("expected RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0: Ray would listen on the network")
    # Without a token in the environment Ray would write one to ~/.ray, for all its servers.
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local",
            num_cpus=1,
            include_dashboard=False,
            object_store_memory=100 * 2**20,
            _temp_dir=folder,
        )
        quiet = LoggingConfig(enable_access_log=False, log_level="WARNING")
        serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port), logging_config=quiet)
        sentiment = Sentiment.bind(model, batch, wait_seconds)  # type: ignore[attr-defined]
        serve.run(sentiment, route_prefix="/predict", logging_config=quiet)
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        stop.wait()
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()

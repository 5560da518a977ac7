"""LitServe: one HTTP process and one worker process, connected by queues that a third process holds."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import litserve  # type: ignore[import-not-found]

from service.model import bundle
from service.model.classifier import Classifier, Prediction

BATCH, WAIT_SECONDS = 8, 0.002


class Sentiment(litserve.LitAPI):  # type: ignore[misc]
    """The hooks that LitServe calls in its worker."""

    def __init__(self, model: Path, batch: int, wait_seconds: float) -> None:
        super().__init__(max_batch_size=batch, batch_timeout=wait_seconds)
        self.model = model

    def setup(self, device: str) -> None:
        """Called once in the worker."""
        self.classifier = Classifier(bundle.read(self.model), "cpu")

    def decode_request(self, request: dict[str, str]) -> str:
        """The text of one request."""
        return request["text"]

    def batch(self, inputs: list[str]) -> list[str]:
        """Keeps the list of texts: LitServe's default would make an array of it."""
        return inputs

    def predict(self, x: str | list[str]) -> Prediction | list[Prediction]:
        """Predicts a batch, or a single text: LitServe passes `x` without a list if the batch size is 1."""
        if isinstance(x, str):
            return self.classifier([x])[0]
        return self.classifier(x)

    def unbatch(self, output: Sequence[Prediction]) -> Sequence[Prediction]:
        """One prediction for each text of the batch."""
        return output

    def encode_response(self, output: Prediction) -> dict[str, Any]:
        """The answer to one request."""
        return {"label": output.label, "score": output.score, "probabilities": output.probabilities}


@click.command()
@click.option("--model", type=click.Path(path_type=Path), required=True)
@click.option("--port", type=int, required=True)
@click.option("--batch", type=click.IntRange(1), default=BATCH)
@click.option("--wait-seconds", type=float, default=WAIT_SECONDS)
def main(model: Path, port: int, batch: int, wait_seconds: float) -> None:
    """Serves until SIGTERM."""
    # LitServe ends its processes on Ctrl-C; SIGTERM would end this one alone and leave them behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    api = Sentiment(model, batch, wait_seconds)
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()

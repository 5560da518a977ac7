"""BentoML: a service in one worker process, which BentoML's supervisor starts."""

import os
import sys
from pathlib import Path
from typing import Any

import bentoml  # type: ignore[import-not-found]
import click

from service.model import bundle
from service.model.classifier import Classifier

MODEL = "OVATION_PEER_MODEL"
BATCH = 8


@bentoml.service(
    name="sentiment",
    workers=1,
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Sentiment:
    """The service; BentoML makes one in its worker."""

    def __init__(self) -> None:
        self.classifier = Classifier(bundle.read(Path(os.environ[MODEL])), "cpu")

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """Predicts the texts of one request, or of several that BentoML has joined."""
        return [
            {"label": prediction.label, "score": prediction.score, "probabilities": prediction.probabilities}
            for prediction in self.classifier(texts)
        ]


@click.command()
@click.option("--model", type=click.Path(path_type=Path), required=True)
@click.option("--port", type=int, required=True)
def main(model: Path, port: int) -> None:
    """Serves until SIGTERM."""
    os.environ[MODEL] = str(model)
    target = "benchmarks.peers.bentoml_server:Sentiment"
    serve = ["-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]
    os.execv(sys.executable, [sys.executable, *serve])


if __name__ == "__main__":
    main()

"""MLServer: a custom runtime behind the V2 inference protocol, in one process."""

from pathlib import Path
from typing import Any

import click
import numpy as np
import uvloop
from mlserver import MLModel, MLServer, ModelSettings, Settings  # type: ignore[import-not-found]
from mlserver.codecs import NumpyCodec, StringCodec  # type: ignore[import-not-found]
from mlserver.settings import ModelParameters  # type: ignore[import-not-found]
from mlserver.types import InferenceRequest, InferenceResponse  # type: ignore[import-not-found]

from service.model import bundle
from service.model.classifier import Classifier

NAME = "sentiment"
BATCH, WAIT_SECONDS = 8, 0.001


class Sentiment(MLModel):  # type: ignore[misc]
    """The runtime; its URI is the bundle's folder."""

    async def load(self) -> bool:
        """Called once before the model is ready."""
        self.classifier = Classifier(bundle.read(Path(self.settings.parameters.uri)), "cpu")
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Predicts the texts of one request, or of several that MLServer has joined."""
        predictions = self.classifier(StringCodec.decode_input(payload.inputs[0]))
        outputs = [StringCodec.encode_output("label", [one.label for one in predictions])]
        for label in self.classifier.manifest.labels:
            column = np.array([one.probabilities[label] for one in predictions])
            outputs.append(NumpyCodec.encode_output(label, column))
        return InferenceResponse(model_name=self.name, outputs=outputs)


async def serve(model: Path, port: int, batch: int, wait_seconds: float) -> None:
    """Serves until SIGTERM."""
    settings = Settings(
        host="127.0.0.1",
        http_port=port,
        grpc_port=0,  # any free port: gRPC cannot be turned off
        debug=False,  # turns off the access log, and logging at DEBUG
        parallel_workers=0,  # one core: a second process would only add a queue (and fails with uvloop >= 0.22)
        metrics_endpoint=None,
        gzip_enabled=False,
        load_models_at_startup=False,
    )
    parameters = ModelParameters(uri=str(model))
    extras: dict[str, Any] = {"max_batch_size": batch, "max_batch_time": wait_seconds}
    await MLServer(settings).start(
        [ModelSettings(name=NAME, implementation=Sentiment, parameters=parameters, **extras)]
    )


@click.command()
@click.option("--model", type=click.Path(path_type=Path), required=True)
@click.option("--port", type=int, required=True)
@click.option("--batch", type=click.IntRange(1), default=BATCH)
@click.option("--wait-seconds", type=float, default=WAIT_SECONDS)
def main(model: Path, port: int, batch: int, wait_seconds: float) -> None:
    """Serves until SIGTERM."""
    uvloop.run(serve(model, port, batch, wait_seconds))


if __name__ == "__main__":
    main()

"""Plain FastAPI in uvicorn: the classifier is called on the event loop, or in Starlette's thread pool."""

from pathlib import Path

import click
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from service.model import bundle
from service.model.classifier import Classifier


class Review(BaseModel):
    """The body of a request."""

    text: str


class Answer(BaseModel):
    """The body of an answer."""

    label: str
    score: float
    probabilities: dict[str, float]


def create_app(classifier: Classifier, inline: bool) -> FastAPI:
    """The app, with an `async def` handler if `inline`, else a `def` handler."""
    app = FastAPI()

    def answer(review: Review) -> Answer:
        [prediction] = classifier([review.text])
        return Answer(label=prediction.label, score=prediction.score, probabilities=prediction.probabilities)

    async def answer_inline(review: Review) -> Answer:
        return answer(review)

    async def health() -> dict[str, str]:
        return {"status": "ready"}

    app.post("/predict")(answer_inline if inline else answer)
    app.get("/health")(health)
    return app


@click.command()
@click.option("--model", type=click.Path(path_type=Path), required=True)
@click.option("--port", type=int, required=True)
@click.option("--inline/--threadpool", required=True)
def main(model: Path, port: int, inline: bool) -> None:
    """Serves until SIGTERM."""
    app = create_app(Classifier(bundle.read(model), "cpu"), inline)
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", workers=1, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()

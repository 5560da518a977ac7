"""`python -m benchmarks.load.empty --port PORT [--raw]`: a server that answers every review with the same prediction.

A request thus costs what HTTP costs: with FastAPI and pydantic, or (raw) with uvicorn alone.
"""

import click
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from service.api.schemas import Prediction

_ANSWER = Prediction(
    label="positive",
    score=0.9182371171372383,
    probabilities={"negative": 0.08176288286276158, "positive": 0.9182371171372383},
    uncertain=False,
    tokens=8,
    truncated=False,
    unknown_share=0.0,
    evidence=None,
    model="reviews-bilstm@00000000",
)
_BYTES = _ANSWER.model_dump_json(exclude_none=True).encode()
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_BYTES)).encode())]


class Review(BaseModel):
    """The body of a request."""

    text: str
    evidence: bool = False


def create_app() -> FastAPI:
    """A FastAPI app as in a tutorial: one pydantic model in, one out."""
    app = FastAPI()

    @app.post("/predict", response_model_exclude_none=True)
    async def predict(review: Review) -> Prediction:
        return _ANSWER

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ready"}

    return app


async def raw(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application of --raw: reads the body, does not parse it."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BYTES})


@click.command()
@click.option("--port", type=int, required=True)
@click.option("--raw", "is_raw", is_flag=True)
def main(port: int, is_raw: bool) -> None:
    """Serves on 127.0.0.1 until SIGTERM, with the service's settings of uvicorn."""
    app = raw if is_raw else create_app()
    uvicorn.run(app, port=port, lifespan="off", log_level="warning", access_log=False, server_header=False)


if __name__ == "__main__":
    main()

"""tritonclient[http], sync and asyncio, with its own defaults."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

GOOD, FULL, LOST = (url.removeprefix("http://") for url in sys.argv[1:4])
MODEL = sys.argv[4]
TEXTS, LONG = ["The film was wonderful — café 🙂!", "awful"], ["fine " * 30_000]


def ask(call: Callable[[], Any]) -> Any:
    """What `call` returns, or the error that a user sees."""
    try:
        return call()
    except InferenceServerException as error:
        return {"status": int(error.status()), "reason": error.message()}


def inputs(texts: list[str], binary: bool = True, column: bool = False) -> list[Any]:
    """The texts as a tensor, binary by default."""
    array = np.array([text.encode() for text in texts], dtype=object)
    array = array.reshape(-1, 1) if column else array
    tensor = triton.InferInput("text", list(array.shape), "BYTES")
    tensor.set_data_from_numpy(array, binary_data=binary)
    return [tensor]


def told(result: Any) -> dict[str, Any]:
    """The tensors of an answer; FP32 as Python floats, which hold them exactly."""
    names = ("label", "score", "probabilities")
    arrays = {name: result.as_numpy(name) for name in names if result.get_output(name) is not None}
    lists = {name: array.tolist() for name, array in arrays.items()}
    if "label" in lists:
        lists["label"] = [label.decode() if isinstance(label, bytes) else label for label in lists["label"]]
    return {**lists, "id": result.get_response().get("id"), "version": result.get_response()["model_version"]}


def infer(texts: list[str] = TEXTS, url: str = GOOD, model: str = MODEL, form: Any = None, **options: Any) -> Any:
    """An inference by a client of its own."""
    client = triton.InferenceServerClient(url, network_timeout=60)
    return ask(lambda: told(client.infer(model, inputs(texts, **(form or {})), **options)))


async def by_asyncio(call: Callable[[Any], Awaitable[Any]], url: str = GOOD) -> Any:
    """What `call` returns or raises, given a client."""
    async with triton_aio.InferenceServerClient(url) as client:
        try:
            return await call(client)
        except InferenceServerException as error:
            return {"status": int(error.status()), "reason": error.message()}


def infer_by_asyncio(url: str = GOOD, model: str = MODEL, **options: Any) -> Any:
    """An inference by the asyncio client."""

    async def call(client: Any) -> Any:
        return told(await client.infer(model, inputs(TEXTS), **options))

    return asyncio.run(by_asyncio(call, url))


client = triton.InferenceServerClient(GOOD)
some = [triton.InferRequestedOutput("probabilities"), triton.InferRequestedOutput("label", binary_data=False)]
version = client.get_model_metadata(MODEL)["versions"][0]
answers = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model ready": [client.is_model_ready(MODEL), client.is_model_ready("other")],
    "server": client.get_server_metadata(),
    "model": client.get_model_metadata(MODEL, version),
    "index": client.get_model_repository_index(),
    "asyncio health": asyncio.run(by_asyncio(lambda each: each.is_server_ready())),
    "asyncio model": asyncio.run(by_asyncio(lambda each: each.get_model_metadata(MODEL))),
    "infer": [
        infer(),
        infer(form={"column": True}),
        infer(form={"binary": False}),
        infer(model_version=version),
        infer(request_compression_algorithm="gzip", response_compression_algorithm="deflate"),
        infer(request_compression_algorithm="deflate", response_compression_algorithm="gzip"),
        infer(timeout=60_000_000, priority=1, parameters={"note": "x"}),
        infer_by_asyncio(),
        infer_by_asyncio(request_compression_algorithm="gzip", response_compression_algorithm="gzip"),
    ],
    "id": infer(request_id="прим-😍"),
    "some": infer(outputs=some),
    "404": [infer(model="other"), infer_by_asyncio(model="other")],
    "413": infer(LONG),
    "422": infer([" "]),
    "429": [infer(url=FULL), infer_by_asyncio(FULL)],
    "503": [infer(url=LOST), infer_by_asyncio(LOST)],
    "504": infer(timeout=1),
}
print(json.dumps(answers))

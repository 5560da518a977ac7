"""KServe's InferenceRESTClient."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

GOOD, FULL, LOST, MODEL = sys.argv[1:5]
TEXTS, LONG = ["The film was wonderful — café 🙂!", "awful"], ["fine " * 30_000]


def ask(call: Callable[[Any], Awaitable[Any]]) -> Any:
    """What `call` returns, given a client, or the error that a user sees."""

    async def asked() -> Any:
        client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60, retries=0))
        try:
            return await call(client)
        except httpx.HTTPStatusError as error:
            return {"status": error.response.status_code, "reason": str(error)}
        finally:
            await client.close()

    return asyncio.run(asked())


def infer(texts: list[str] = TEXTS, url: str = GOOD, model: str = MODEL, binary: bool = False, **options: Any) -> Any:
    """An inference; `options` are the request's."""
    tensor = InferInput("text", [len(texts)], "BYTES")
    tensor.set_data_from_numpy(np.array(texts, dtype=object), binary_data=binary)
    request = InferRequest(MODEL, [tensor], **options)

    async def call(client: Any) -> Any:
        answer = await client.infer(url, request, model_name=model)
        lists = {output.name: output.as_numpy().tolist() for output in answer.outputs}
        if "label" in lists:
            lists["label"] = [label.decode() if isinstance(label, bytes) else label for label in lists["label"]]
        return {**lists, "id": answer.id, "model": answer.model_name}

    return ask(call)


some = [
    RequestedOutput("label", parameters={"binary_data": False}),
    RequestedOutput("score", parameters={"binary_data": True}),
]
answers = {
    "live": ask(lambda client: client.is_server_live(GOOD)),
    "ready": ask(lambda client: client.is_server_ready(GOOD)),
    "model ready": [
        ask(lambda client: client.is_model_ready(GOOD, MODEL)),
        ask(lambda client: client.is_model_ready(GOOD, "other")),
    ],
    "infer": [infer(), infer(binary=True), infer(binary=True, parameters={"binary_data_output": True})],
    "id": infer(request_id="k-1"),
    "some": infer(request_outputs=some),
    "404": infer(model="other"),
    "413": infer(LONG),
    "422": infer([" "]),
    "429": infer(url=FULL),
    "503": infer(url=LOST),
}
print(json.dumps(answers))

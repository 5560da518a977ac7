"""huggingface_hub: its two clients at /hf, and at /tei what they ask of health and info."""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError

GOOD, FULL, LOST = sys.argv[1:4]
TEXT, LONG = "The film was wonderful — café 🙂!", "fine " * 30_000


def ask(call: Callable[[], Any]) -> Any:
    """What `call` returns, or the error that a user sees."""
    try:
        return call()
    except HfHubHTTPError as error:
        return {"status": error.response.status_code, "reason": error.server_message, "request_id": error.request_id}


def classify(text: Any, url: str = GOOD, **options: Any) -> Any:
    """text_classification of one client."""
    return ask(lambda: InferenceClient(model=f"{url}/hf").text_classification(text, **options))


async def classify_eight() -> list[Any]:
    """Eight at a time."""
    client = AsyncInferenceClient(model=f"{GOOD}/hf/")
    return await asyncio.gather(*[client.text_classification(TEXT) for _ in range(8)])


tei = InferenceClient(model=f"{GOOD}/tei", provider="hf-inference")
answers = {
    "text": classify(TEXT),
    "top_k": classify(TEXT, top_k=1),
    "none": classify(TEXT, function_to_apply="none"),
    "async": asyncio.run(classify_eight()),
    "list": classify([TEXT, TEXT]),
    "413": classify(LONG),
    "422": classify(" "),
    "429": classify(TEXT, FULL),
    "503": classify(TEXT, LOST),
    "404": ask(lambda: InferenceClient(model=f"{GOOD}/hf/nothing").text_classification(TEXT)),
    "health": tei.health_check(),
    "info": tei.get_endpoint_info(),
}
print(json.dumps(answers))

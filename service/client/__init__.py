"""The Python client: httpx and the standard library alone. `Client` blocks, `AsyncClient` awaits; both do the same.

| module | does |
| --- | --- |
| `results`, `errors` | what a call returns, and what it raises |
| `groups` | cuts texts into the bodies of requests, by the server's limits |
| `calls` | decides what to send, when to send it again and when to give up; no input or output |
| `blocking`, `asynchronous` | the two shells around `calls` |
"""

from service.client.asynchronous import AsyncClient
from service.client.blocking import Client
from service.client.errors import ApiError, DeadlineExceeded, OvationError, UnexpectedAnswer, Unreachable
from service.client.results import Evidence, Failure, Limits, Model, Prediction, Problem, Sentence, Token

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "DeadlineExceeded",
    "Evidence",
    "Failure",
    "Limits",
    "Model",
    "OvationError",
    "Prediction",
    "Problem",
    "Sentence",
    "Token",
    "UnexpectedAnswer",
    "Unreachable",
]

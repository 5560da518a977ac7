"""Callers of a real service, and what became of each of their requests.

Answered: 200. Refused: told so (429, 500, 503, or no connection at all). Lost: the connection broke before an answer.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx

from tests.support.faulty_service import text

_PATIENCE_SECONDS = 300.0  # what is not answered by then counts as lost
LIMITS = httpx.Limits(max_connections=200, max_keepalive_connections=200)


@dataclass
class Tally:
    """What became of requests, and when those that were lost had been sent."""

    answered: int = 0
    refused: Counter[int] = field(default_factory=Counter)  # by status; 0 where there was no connection to be had
    lost_since: list[float] = field(default_factory=list)  # perf_counter seconds

    async def ask(self, client: httpx.AsyncClient, tokens: int, deadline_ms: int | None = None) -> int:
        """One request; returns its status, 0 without one."""
        headers = {} if deadline_ms is None else {"X-Request-Timeout-Ms": str(deadline_ms)}
        began = time.perf_counter()
        try:
            status = (await client.post("/predict", json={"text": text(tokens)}, headers=headers)).status_code
        except httpx.ConnectError:
            status = 0
        except httpx.TransportError:
            self.lost_since.append(began)
            return 0
        if status == 200:
            self.answered += 1
        else:
            self.refused[status] += 1
        return status

    def __str__(self) -> str:
        return f"answered {self.answered}, refused {dict(self.refused)}, lost {len(self.lost_since)}"


@contextlib.asynccontextmanager
async def clients(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Many connections to the service."""
    async with httpx.AsyncClient(base_url=url, limits=LIMITS, timeout=_PATIENCE_SECONDS) as client:
        yield client


async def hammer(url: str, tally: Tally, stop: asyncio.Event, count: int = 16) -> None:
    """So many clients, each sending its next request after the last was answered, until `stop`."""

    async def one(client: httpx.AsyncClient) -> None:
        while not stop.is_set():
            if not await tally.ask(client, 9):
                await asyncio.sleep(0.01)

    async with clients(url) as client:
        await asyncio.gather(*(one(client) for _ in range(count)))

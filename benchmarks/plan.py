"""The plan that all sections share: how long to measure, on which cores and with which texts."""

import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.load import stream
from benchmarks.load.closed import Body, closed
from benchmarks.load.servers import Server

TEXTS_A_BATCH = 64  # in each request to /predict/batch
_REVIEWS, _QUICK_REVIEWS = 2048, 128
_SEED = 1
_SHORT_SECONDS = 2.0


@dataclass(frozen=True)
class Plan:
    """One run of the benchmarks; the texts are test reviews of the archive `data`, or made up without it."""

    data: Path | None
    seconds: float  # of a load
    quick: bool  # only checks that everything works
    server_core: int
    load_core: int
    model: Path = stream.MODEL

    rounds: int = 3  # in each, everything that is compared is measured once

    @property
    def short(self) -> "Plan":
        """The plan with twice as many rounds of shorter loads, for comparisons within a round: the speed of a virtual
        machine drifts within seconds, so that only measurements close in time are comparable."""
        return self if self.quick else replace(self, seconds=min(self.seconds, _SHORT_SECONDS), rounds=2 * self.rounds)

    @cached_property
    def texts(self) -> list[str]:
        """The texts to send: the same for every section, so that results of different sections are comparable."""
        return stream.reviews(_QUICK_REVIEWS if self.quick else _REVIEWS, self.data, _SEED)

    @cached_property
    def bodies(self) -> list[bytes]:
        """A request to /predict for each text."""
        return [json.dumps({"text": text}).encode() for text in self.texts]

    @cached_property
    def batch_bodies(self) -> list[bytes]:
        """Requests to /predict/batch, TEXTS_A_BATCH texts each."""
        firsts = range(0, len(self.texts), TEXTS_A_BATCH)
        return [json.dumps({"texts": self.texts[first : first + TEXTS_A_BATCH]}).encode() for first in firsts]

    def load(
        self,
        server: Server,
        connections: int,
        path: str = "/predict",
        bodies: Sequence[Body] = (),
        cores: Collection[int] = (),
    ) -> dict[str, Any]:
        """Runs a closed loop after a short one to warm up: the fields of `Closed`, and the server's cores and memory.

        Without `bodies` it sends single reviews; without `cores` it runs on the load's core.
        """
        url, bodies, cores = server.url + path, bodies or self.bodies, cores or {self.load_core}
        closed(url, bodies, connections, self.seconds / 5, cores)
        before = server.cpu_seconds()
        result = closed(url, bodies, connections, self.seconds, cores)
        used = {
            "server_cores": (server.cpu_seconds() - before) / result.seconds,  # in the mean
            "server_bytes": server.resident_bytes(),
        }
        return {**asdict(result), **used}


@contextmanager
def pinned(*cores: int) -> Iterator[None]:
    """Binds the calling thread, and what it starts, to `cores` until the block ends."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)

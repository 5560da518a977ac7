"""How long to measure, on which cores and with which texts: what the sections share."""

import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.load import stream
from benchmarks.load.closed import closed
from benchmarks.load.servers import Server

TEXTS_A_BATCH = 64  # in a request to /predict/batch
_REVIEWS, _QUICK_REVIEWS = 2048, 128
_SEED = 1
_SHORT_SECONDS = 2.0


@dataclass(frozen=True)
class Plan:
    """One run; `seconds` is what a load lasts. All texts are test reviews of the archive `data`, or made up."""

    data: Path | None
    seconds: float
    quick: bool
    server_core: int
    load_core: int
    model: Path = stream.MODEL

    rounds: int = 3  # how often what is compared is measured in turn

    @property
    def short(self) -> "Plan":
        """Twice as many rounds, of short loads: the speed of a virtual machine drifts within seconds, and only what
        stands close together compares."""
        return self if self.quick else replace(self, seconds=min(self.seconds, _SHORT_SECONDS), rounds=2 * self.rounds)

    @cached_property
    def texts(self) -> list[str]:
        """The same for every section: a figure of one can be set beside that of another."""
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
        bodies: Sequence[bytes] = (),
        cores: Collection[int] = (),
    ) -> dict[str, Any]:
        """A closed loop after a short one to warm up: the fields of `Closed`, and what the server used meanwhile.

        `bodies` are those of single reviews and `cores` is that of the load unless given.
        """
        url, bodies, cores = server.url + path, bodies or self.bodies, cores or {self.load_core}
        closed(url, bodies, connections, self.seconds / 5, cores)
        before = server.cpu_seconds()
        found = closed(url, bodies, connections, self.seconds, cores)
        used = {
            "server_cores": (server.cpu_seconds() - before) / found.seconds,  # in the mean
            "server_bytes": server.resident_bytes(),
        }
        return {**asdict(found), **used}


@contextmanager
def pinned(*cores: int) -> Iterator[None]:
    """The calling thread, and what it starts, runs on `cores` only until the block ends."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)

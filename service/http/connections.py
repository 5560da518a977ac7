"""The connections of a worker, and what they hold together: how many there may be, and which of them makes room."""

import os
import resource
from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain
from time import perf_counter

import structlog
from starlette.responses import Response

from service.http.held import Endable, Held
from service.http.problems import Problem
from service.telemetry.request_log import RequestLog, RequestRecord

RESERVE = 16  # connections above the limit, for probes alone
_SPARE_DESCRIPTORS = 32  # for all that is opened later and is no connection
_PROBES = (b"/health", b"/tei/health", b"/v2/health")
_LOG_SECONDS = 60.0  # a limit that is reached again and again is logged at most this often


class Connections:
    """Counts connections and decides which ends where there are too many, or where too much waits to be sent."""

    def __init__(self, log: RequestLog, held: Held, max_connections: int, keep_alive_seconds: float) -> None:
        self._log, self.held, self._max = log, held, max_connections
        self.keep_alive_seconds = keep_alive_seconds
        self._open: set[Endable] = set()
        # No request runs on these, the longest first: where nothing was asked yet, and where something was.
        self._silent: OrderedDict[Endable, None] = OrderedDict()
        self._idle: OrderedDict[Endable, None] = OrderedDict()
        self._extra: set[Endable] = set()  # those above the limit
        self._logged = -_LOG_SECONDS

    def limit_to_descriptors(self) -> None:
        """Raises the process's limit of open files as far as it may, and lowers the connections to what it allows."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        others = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 64
        self._max = max(1, min(self._max, hard - others - _SPARE_DESCRIPTORS - RESERVE))

    def opened(self, connection: Endable) -> bool:
        """Counts a new connection; one that idles makes room. False where none idles."""
        if not self._make_room():
            if len(self._extra) >= RESERVE:
                idle = next((other for other in self._in_order() if other in self._extra), None)
                if idle is None:
                    self.count("refused")
                    return False
                self._end(idle)
            self._extra.add(connection)
        self._open.add(connection)
        self._silent[connection] = None
        self._log.metrics.observe_connections(len(self._open))
        return True

    def closed(self, connection: Endable) -> None:
        """Forgets a connection that has ended."""
        self._open.discard(connection)
        self._extra.discard(connection)
        self.busy(connection)
        self.held.waits(connection, 0)
        self._log.metrics.observe_connections(len(self._open))

    def may_ask(self, connection: Endable, path: bytes) -> bool:
        """Whether a request may run: one above the limit may only ask how the service is."""
        if connection not in self._extra or path.startswith(_PROBES):
            return True
        if not self._make_room():
            return False
        self._extra.discard(connection)
        return True

    def busy(self, connection: Endable) -> None:
        """A head has come whole."""
        self._silent.pop(connection, None)
        self._idle.pop(connection, None)

    def idle(self, connection: Endable) -> None:
        """Its last request is answered, or was refused."""
        self._idle[connection] = None

    def refusal(self, problem: Problem, target: bytes) -> Response:
        """The answer to what never became a request, counted and logged like one.

        `target` is what stands in its request line, empty where the connection did not read that.
        """
        record = RequestRecord("-", "-", os.urandom(16).hex(), perf_counter())
        response = problem.response(None, record.request_id, target.partition(b"?")[0].decode("latin-1"))
        response.raw_headers.append((b"x-request-id", record.request_id.encode()))
        record.status = problem.status
        self._log.end(record)
        return response

    def count(self, reason: str) -> None:
        """Counts a connection that the service ended by itself."""
        self._log.metrics.observe_connection_ended(reason)

    def _make_room(self) -> bool:
        """Whether there is room for one more within the limit; one there that idles makes it."""
        if self._is_full():
            self._log_limit()
            idle = next((other for other in self._in_order() if other not in self._extra), None)
            if idle is not None:
                self._end(idle)
        return not self._is_full()

    def _in_order(self) -> Iterator[Endable]:
        """Those that idle, whoever is to make room first: of the larger crowd, so that a flood makes its own room."""
        return chain(*sorted((self._idle, self._silent), key=len, reverse=True))

    def _is_full(self) -> bool:
        return len(self._open) - len(self._extra) >= self._max

    def _end(self, connection: Endable) -> None:
        self.closed(connection)
        connection.make_room()

    def _log_limit(self) -> None:
        if perf_counter() - self._logged > _LOG_SECONDS:
            self._logged = perf_counter()
            structlog.get_logger("ovation").warning("connections at their limit", limit=self._max, open=len(self._open))

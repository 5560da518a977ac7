"""The process above several workers: it replaces one that dies, and has all change their model together or none."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from socket import socket
from typing import Any

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from service.http.shutdown import Server
from service.model.bundle import BundleError
from service.model.bundles import Bundles, ChangeRefused, Order

_TURN_SECONDS = 0.5  # between two looks at signals and at workers
# Turns that a worker has to start. They are counted, and a look at the clock counts for _STANDSTILL_SECONDS at most:
# where the whole machine stands still for minutes, no worker is to be taken for one that hangs.
_START_TURNS = 240
_STANDSTILL_SECONDS = 1.0
_AGAIN_SECONDS = 2.0  # for the answer of a worker that was late with it: both may have stood still
_PREPARE_SECONDS = 90.0  # for all workers to load a model; a busy machine takes long
_COMMIT_SECONDS = 10.0

Message = tuple[Any, ...]  # as in `Control`


class Line:
    """The supervisor's end of the connection to one worker. A worker that does not read never stops the supervisor."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._outbox: SimpleQueue[Message | None] = SimpleQueue()  # None ends the thread
        threading.Thread(target=self._write, daemon=True).start()

    def send(self, *message: Any) -> None:
        """Sends `message` after those before it."""
        self._outbox.put(message)

    def close(self) -> None:
        """The worker has ended; so does a `send` in progress."""
        self._outbox.put(None)

    def _write(self) -> None:
        with self.connection, contextlib.suppress(OSError):  # the worker has ended
            while (message := self._outbox.get()) is not None:
                self.connection.send(message)


class Worker(Process):
    """uvicorn's process of a worker, with our server."""

    @property
    def server(self) -> uvicorn.Server:
        """Made in the process itself."""
        if self._server is None:
            self._server = Server(self.config)
        return self._server


class Supervisor(Multiprocess):
    """uvicorn's, but its workers get the bundle's files from here, and not from a folder that may have changed.

    `make_config` makes uvicorn's settings for a worker, which has this end of a connection (`Control`).
    """

    def __init__(
        self,
        config: uvicorn.Config,
        sockets: list[socket],
        bundles: Bundles,
        make_config: Callable[[Connection], uvicorn.Config],
    ) -> None:
        super().__init__(config, sockets)
        self._bundles, self._make_config = bundles, make_config
        self._lines = dict[Process, Line]()
        self._starting = dict[Process, int]()  # turns left
        self._ready = set[Process]()
        self._orders = deque[tuple[Line | None, int, Order]]()  # who asked, and his own number for it
        self._number = 0  # of the last order

    def run(self) -> None:
        """Until SIGTERM or Ctrl-C, or until a worker cannot serve the bundle and no other does."""
        self.processes += [self._start() for _ in range(self.processes_num)]
        while not self.should_exit.is_set():
            self._listen(_TURN_SECONDS)
            self.handle_signals()
            self.keep_subprocess_alive()
            while self._orders and not self.should_exit.is_set():
                line, number, order = self._orders.popleft()
                reason = self._change(order)
                if line is not None:
                    line.send("done", number, reason)
        self.terminate_all()
        for listener in self.sockets:  # else connections would wait here that no worker accepts any more
            listener.close()
        self.join_all()

    def keep_subprocess_alive(self) -> None:
        """Replaces workers that have died or hang."""
        for index, process in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if self._is_alive(process):
                continue
            process.kill()
            process.join()
            self._lines.pop(process).close()
            self._starting.pop(process, None)
            self._ready.discard(process)
            log = structlog.get_logger("ovation")
            if process.exitcode == STARTUP_FAILURE and not self._ready:
                log.error("no worker can start")
                self.should_exit.set()
                return
            log.warning("a worker ended, another starts", code=process.exitcode)
            self.processes[index] = self._start()

    def _is_alive(self, process: Process) -> bool:
        """Whether `process` lives and answers; one that starts has more time for it."""
        if process in self._ready:
            return process.is_alive(timeout=self.config.timeout_worker_healthcheck) or process.ping(_AGAIN_SECONDS)
        self._starting[process] -= 1
        return process.exitcode is None and self._starting[process] > 0

    def handle_hup(self) -> None:
        """SIGHUP: the folder that is served is read again."""
        self._orders.append((None, 0, Order("reload")))

    def handle_ttin(self) -> None:
        """SIGTTIN, by which uvicorn adds a worker: the cores and the memory are shared out for those that there are."""

    def handle_ttou(self) -> None:
        """SIGTTOU, by which uvicorn takes a worker away."""

    def _start(self) -> Process:
        own, workers = Pipe()
        process = Worker(self._make_config(workers), self.sockets)
        process.start()
        workers.close()  # so that the end of either process is the end of the connection
        self._lines[process] = line = Line(own)
        self._starting[process] = _START_TURNS
        line.send("start", self._bundles.current, self._bundles.shadow)
        return process

    def _listen(self, seconds: float) -> list[tuple[Process, Message]]:
        """Takes what workers send within `seconds`; returns what belongs to a change."""
        found = list[tuple[Process, Message]]()
        senders = {line.connection: process for process, line in self._lines.items()}
        for connection in wait(list(senders), seconds):
            assert isinstance(connection, Connection)
            process = senders[connection]
            try:
                message = connection.recv()
            except (EOFError, OSError):
                time.sleep(0.05)  # the worker is ending; `keep_subprocess_alive` replaces it
                continue
            match message:
                case ("ready",):
                    self._ready.add(process)
                case ("order", number, order):
                    self._orders.append((self._lines[process], number, order))
                case _:
                    found.append((process, message))
        return found

    def _change(self, order: Order) -> str | None:
        """Has all workers carry out `order`, or none; says why where none does."""
        self._number += 1
        try:
            if set(self.processes) != self._ready:
                raise ChangeRefused("expected all workers to serve, found one that starts; try again")
            files = self._bundles.plan(order)
            self._ask("prepared", _PREPARE_SECONDS, "prepare", self._number, order, files)
        except (BundleError, ChangeRefused, OSError, MemoryError) as error:
            reason = str(error) or type(error).__name__
            for line in self._lines.values():
                line.send("abort", order, reason)
            return reason
        self._bundles.done(order, files)  # a worker that starts from here on has the new model
        with contextlib.suppress(ChangeRefused):  # `_ask` has ended the workers that did not
            self._ask("committed", _COMMIT_SECONDS, "commit", self._number, order)
        return None

    def _ask(self, word: str, seconds: float, *message: Any) -> None:
        """Sends `message` to all workers, and waits for the `word` of each. Raises ChangeRefused.

        A worker that keeps silent is ended, and so replaced.
        """
        silent = set(self.processes)
        for process in silent:
            self._lines[process].send(*message)
        before, waited = time.monotonic(), 0.0
        while silent:
            for process, answer in self._listen(0.1):
                if answer[:2] == (word, self._number):
                    silent.discard(process)
                    if (reason := answer[2]) is not None:
                        raise ChangeRefused(reason)
            self.handle_signals()
            if self.should_exit.is_set():
                raise ChangeRefused("expected a service that goes on, found one that stops")
            if dead := [process for process in silent if process.exitcode is not None]:
                raise ChangeRefused(f"expected all workers to live, found {len(dead)} that ended")
            before, elapsed = time.monotonic(), time.monotonic() - before
            waited += min(elapsed, _STANDSTILL_SECONDS)
            if waited > seconds:
                for process in silent:
                    process.process.kill()
                raise ChangeRefused(f"expected all workers within {seconds:g} s, found {len(silent)} late")

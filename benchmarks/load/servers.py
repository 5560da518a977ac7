"""Runs a server under measurement on given cores, from its start until it and its descendants have ended."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
READY_SECONDS = 120.0
END_SECONDS = 30.0  # from SIGTERM to SIGKILL: more than the service's `grace_seconds`
_TAIL_CHARACTERS = 3000
_POLL_SECONDS = 0.02

# Indices of the fields of /proc/PID/stat that follow the process's name in parentheses.
_STATE, _PARENT, _SESSION, _STARTED, _RESIDENT_PAGES = 0, 1, 3, 19, 21
_TIMES = slice(11, 15)  # user and system time of the process, and of its children that have ended
_Stats = dict[int, list[str]]  # process id -> those fields


class Unavailable(Exception):
    """A server or a library cannot run here: its environment cannot be made, or its process does not get ready."""


@dataclass(frozen=True)
class Server:
    """A running server that is ready."""

    url: str  # http://127.0.0.1:port
    pid: int
    seconds_to_ready: float  # from the start of the process to the first 200

    def resident_bytes(self) -> int:
        """Resident memory of the process and its descendants; a page that several share counts several times."""
        pages = sum(int(stat[_RESIDENT_PAGES]) for stat in _processes(self.pid, {}).values())
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """User and system time of the process and its descendants so far."""
        ticks = sum(int(field) for stat in _processes(self.pid, {}).values() for field in stat[_TIMES])
        return ticks / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that no process listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    cores: Collection[int],
    environment: Mapping[str, str],
    ready_path: str = "/health",
) -> Iterator[Server]:
    """Runs `command` and its descendants on `cores` until the block ends; `environment` is added to this process's.

    The block begins when `ready_path` answers 200 on 127.0.0.1:`port`. The server's working folder, which is also its
    TMPDIR, is removed at the end. Raises Unavailable, with the end of the server's output, if it is not ready within
    READY_SECONDS.
    """
    # A short name: Ray creates sockets in the folder, whose paths may have at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="server-", ignore_cleanup_errors=True) as folder:
        log, url = Path(folder) / "output.log", f"http://127.0.0.1:{port}"
        began = time.perf_counter()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment, "TMPDIR": folder},
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
        try:
            _wait(process, url + ready_path, log)
            yield Server(url, process.pid, time.perf_counter() - began)
        finally:
            _end(process)


def service(
    model: Path,
    cores: Collection[int],
    workers: int = 1,
    threads: int = 1,
    module: Sequence[str] = ("service", "serve"),
    environment: Mapping[str, str] | None = None,
) -> AbstractContextManager[Server]:
    """The service, ready on `cores`, with its default settings otherwise: it logs each request as JSON, to a file."""
    port = free_port()
    variables = {"MODEL": model.absolute(), "PORT": port, "WORKERS": workers, "THREADS": threads}
    settings = {f"OVATION_{name}": str(value) for name, value in variables.items()}
    return running([sys.executable, "-m", *module], port, cores, {**settings, **(environment or {})}, "/health/ready")


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Returns when `url` answers 200. Raises Unavailable."""
    end, problem = time.monotonic() + READY_SECONDS, f"no answer within {READY_SECONDS:.0f} s"
    while time.monotonic() < end:
        if process.poll() is not None:
            problem = f"the process ended with code {process.returncode}"
            break
        with suppress(URLError, HTTPException, OSError), urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(_POLL_SECONDS)
    tail = log.read_text(errors="replace")[-_TAIL_CHARACTERS:]
    raise Unavailable(f"{url}: expected 200, found {problem}; the server wrote:\n{tail}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Sends the server SIGTERM, waits for it and its descendants, and sends SIGKILL to those that still run."""
    # Listed before: Ray's processes are in other process groups, and lose their parents when these end.
    remaining = _processes(process.pid, {})
    process.terminate()
    end = time.monotonic() + END_SECONDS
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    # Once the server has ended, its descendants get one more second.
    end = min(end, time.monotonic() + 1)
    while (remaining := _processes(process.pid, remaining)) and time.monotonic() < end:
        time.sleep(0.05)
    for pid in remaining:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    while _processes(process.pid, remaining):
        time.sleep(0.05)


def _processes(leader: int, known: _Stats) -> _Stats:
    """The stats of the processes that run: `leader`, its session and descendants, and those of `known`."""
    stats: _Stats = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # From the last parenthesis on: the process's name may contain parentheses.
            fields = entry.read_text(errors="replace").rpartition(")")[2].split()
            if fields[_STATE] not in "ZX":  # neither a zombie nor dead
                stats[int(entry.parent.name)] = fields
    pids = {pid for pid, stat in stats.items() if int(stat[_SESSION]) == leader}
    # The same start time: otherwise the process id was reused by another process.
    pids |= {pid for pid in known.keys() & stats.keys() if known[pid][_STARTED] == stats[pid][_STARTED]}
    new = {leader} & stats.keys()
    while new:
        pids |= new
        new = {pid for pid, stat in stats.items() if int(stat[_PARENT]) in new}
    return {pid: stats[pid] for pid in pids}

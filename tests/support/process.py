"""The service as a process of its own, with what it writes in a file."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.faulty_service import GATE


@dataclass
class Service:
    """A running process of the command line."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    gate: Path  # touching it lets held texts through

    def workers(self) -> list[int]:
        """The processes that uvicorn's supervisor started to serve (not multiprocessing's helper)."""
        found = []
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
        return found

    def end(self, seconds: float = 30) -> tuple[int, str]:
        """Waits for the end: the exit code, and all that it wrote."""
        return self.process.wait(seconds), self.log.read_text()

    def memory(self, name: str) -> int:
        """Bytes of the process's memory: VmRSS, what is resident; VmHWM, the most of it so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        assert match, name
        return int(match[1]) * 1024


def _listens(url: str) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex((urlsplit(url).hostname, urlsplit(url).port)) == 0


@contextlib.contextmanager
def service(
    bundle: Path,
    *,
    module: str = "tests.support.faulty_service",
    descriptors: int | None = None,
    environment: Mapping[str, str] | None = None,
    log_folder: Path | None = None,
    **settings: object,
) -> Iterator[Service]:
    """Runs `module`'s command `serve` on a free port until the block ends, with at most so many open files.

    `environment` has further variables; what it writes lies in `log_folder`, or where temporary files do.
    """
    variables = {f"OVATION_{name.upper()}": str(value) for name, value in settings.items()}
    defaults = {"OVATION_MODEL": str(bundle), "OVATION_PORT": "0", "OVATION_THREADS": "1", "OVATION_LOG_FORMAT": "json"}
    workers = int(variables.get("OVATION_WORKERS", 1))
    command = [sys.executable, "-m", module, "serve"]
    if descriptors is not None:
        command = ["sh", "-c", f'ulimit -n {descriptors} && exec "$@"', "sh", *command]
    with tempfile.TemporaryDirectory() as folder:
        log = (log_folder or Path(folder)) / "log"  # a pipe that nobody reads would fill, and stop the service
        gate = Path(folder) / "gate"
        with log.open("w") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **defaults, **variables, **(environment or {}), GATE: str(gate)},
            )
        found = Service(process, "", log, gate)
        try:
            url = None
            while url is None or log.read_text().count('"event":"ready"') < workers:
                assert process.poll() is None, log.read_text()
                time.sleep(0.02)
                url = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
            found.url = url[0]
            while not _listens(found.url):  # workers are ready a moment before they listen
                assert process.poll() is None, log.read_text()
                time.sleep(0.02)
            yield found
        finally:
            orphans = found.workers() if process.poll() is None else []
            process.kill()
            process.wait()
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

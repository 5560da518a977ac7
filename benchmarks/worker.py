"""Calls functions of a process in another environment: a question and its answer are a line of JSON each.

Both ends are here. Imports the standard library alone, since every environment runs this file.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.load.servers import ROOT, Unavailable

_TAIL_BYTES = 3000
_END_SECONDS = 10.0


class Worker:
    """The caller's end; made by `working`."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process, self._log = process, log

    def ask(self, question: str, **details: Any) -> Any:
        """Calls the function named `question` with `details`. Raises Unavailable if the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # the error below, with the output, says more
            self._process.stdin.write(json.dumps([question, details]) + "\n")
            self._process.stdin.flush()
        if line := self._process.stdout.readline():
            return json.loads(line)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)  # so that its output is complete
        tail = self._log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
        raise Unavailable(f"{question}: expected an answer, found a process that ended; it wrote:\n{tail}")


@contextmanager
def working(python: Path, module: str, arguments: Sequence[str] = (), folder: Path = ROOT) -> Iterator[Worker]:
    """Runs `module`, found in the repository or in `folder`, under `python` until the block ends, on the same cores."""
    with tempfile.TemporaryDirectory(prefix="worker-") as logs:
        log = Path(logs) / "output.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(python), "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                encoding="utf-8",
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        with process:  # waits for the process, which ends when its input is closed
            try:
                yield Worker(process, log)
            except BaseException:
                process.kill()
                raise
            finally:
                assert process.stdin is not None
                with suppress(BrokenPipeError):  # if the process has ended before
                    process.stdin.close()


def serve(prepare: Callable[[], Mapping[str, Callable[..., Any]]]) -> None:
    """The process's end: calls the functions that `prepare` returns by name, until the input ends."""
    # Libraries may print to stdout, also in `prepare`: stdout becomes stderr, and only answers go to the caller.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    functions = prepare()
    with answers, open(0, encoding="utf-8") as questions:
        for line in questions:
            question, details = json.loads(line)
            answers.write(json.dumps(functions[question](**details)) + "\n")
            answers.flush()

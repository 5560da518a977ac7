"""A process that is asked one question after another in lines of JSON: how benchmarks use another environment.

Both ends stand here; nothing but the standard library is imported, since every environment runs this.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.servers import ROOT, Unavailable

_TAIL_BYTES = 3000


class Worker:
    """The asking end; made by `working`."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process, self._log = process, log

    def ask(self, question: str, **details: Any) -> Any:
        """The answer to `question`. Raises Unavailable where the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # what it wrote last says more
            self._process.stdin.write(json.dumps([question, details]) + "\n")
            self._process.stdin.flush()
        if line := self._process.stdout.readline():
            return json.loads(line)
        tail = self._log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
        raise Unavailable(f"{question}: expected an answer, found a process that ended; it wrote:\n{tail}")


@contextmanager
def working(
    python: Path, module: str, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Worker]:
    """A process of `module` under `python` until the block ends, on the cores of who asks."""
    with tempfile.TemporaryDirectory(prefix="worker-") as folder:
        log = Path(folder) / "output.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(python), "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                encoding="utf-8",
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            )
        with process:  # at the end its input is closed, and it ends
            try:
                yield Worker(process, log)
            except BaseException:
                process.kill()
                raise


def serve(answers: Mapping[str, Callable[..., Any]]) -> None:
    """The answering end: calls `answers` by name until the input ends."""
    # Libraries may print: only answers go where they are read.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with replies, open(0, encoding="utf-8") as questions:
        for line in questions:
            question, details = json.loads(line)
            replies.write(json.dumps(answers[question](**details)) + "\n")
            replies.flush()

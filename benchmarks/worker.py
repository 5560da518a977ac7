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

from benchmarks.load.servers import ROOT, Unavailable

_TAIL_BYTES = 3000
_END_SECONDS = 10.0


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
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)  # until it has said all
        tail = self._log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
        raise Unavailable(f"{question}: expected an answer, found a process that ended; it wrote:\n{tail}")


@contextmanager
def working(python: Path, module: str, arguments: Sequence[str] = (), folder: Path = ROOT) -> Iterator[Worker]:
    """A process of `module`, of ours or in `folder`, under `python` until the block ends, on the cores of who asks."""
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
        with process:  # at the end its input is closed, and it ends
            try:
                yield Worker(process, log)
            except BaseException:
                process.kill()
                raise
            finally:
                assert process.stdin is not None
                with suppress(BrokenPipeError):  # of a process that ended by itself
                    process.stdin.close()


def serve(prepare: Callable[[], Mapping[str, Callable[..., Any]]]) -> None:
    """The answering end: calls by name what `prepare` gives, until the input ends."""
    # Libraries may print, the first time while we prepare: only answers go where they are read.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    answers = prepare()
    with replies, open(0, encoding="utf-8") as questions:
        for line in questions:
            question, details = json.loads(line)
            replies.write(json.dumps(answers[question](**details)) + "\n")
            replies.flush()

"""`ovation score` in a shell: options, signals, the summary and the exit code."""

import errno
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from service.bulk.output import partial
from service.bulk.score import PIPE, Job, Summary, score
from service.bulk.scorers import Source, Stopped
from service.bulk.tables import Reading, TableError

FAILED, REJECTED = 1, 4
_LEFT, _INTERRUPTED, _TERMINATED = 141, 130, 143  # as a shell tells of SIGPIPE, SIGINT and SIGTERM


def run(read: str, write: str, options: Mapping[str, Any]) -> None:
    """Runs the command, and ends the process with its exit code; `options` are those of the command line."""
    reading = Reading(
        text=options["text_column"],
        encoding=options["encoding"],
        delimiter={"\\t": "\t"}.get(options["delimiter"], options["delimiter"]),
        quoting=options["quoting"],
        header=not options["no_header"],
    )
    source = Source(options["bundle"], options["url"], os.environ.get("OVATION_API_KEY") or None)
    job = Job(
        read,
        write,
        source,
        reading,
        options["prefix"],
        options["format"],
        options["sentences"],
        options["force"],
        options["workers"],
    )
    signal.signal(signal.SIGTERM, _terminate)
    # `_end` leaves the semaphores of the processes to Python's resource tracker, which removes them and would warn.
    given = [os.environ["PYTHONWARNINGS"]] if os.environ.get("PYTHONWARNINGS") else []
    os.environ["PYTHONWARNINGS"] = ",".join([*given, "ignore:resource_tracker:UserWarning"])
    try:
        if options["engine"] == "ray":
            from service.bulk import ray

            ray.score(job)
            return
        summary = score(job)
    except (Stopped, TableError) as error:
        _end(f"error: {error}", error.code if isinstance(error, Stopped) else FAILED)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os._exit(_LEFT)
        _end(_unwritable(error, job), FAILED)
    except KeyboardInterrupt:
        _end(_interrupted(job), _INTERRUPTED)
    except _Terminated:
        _end(_interrupted(job), _TERMINATED)
    for line in _told(summary):
        sys.stderr.write(line + "\n")
    sys.exit(REJECTED if summary.counts.rejected else 0)


class _Terminated(BaseException):
    """SIGTERM."""


def _terminate(number: int, frame: object) -> None:
    raise _Terminated


def _unwritable(error: OSError, job: Job) -> str:
    """The last line where OUT cannot be written; what is there already stays."""
    where = "standard output" if job.write == PIPE else error.filename or job.write
    remedy = "allow it, or name another OUT"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "make room there, and " + ("start again" if job.write == PIPE else "the same command goes on")
    return f"error: {where}: expected a place that can be written, found: {error.strerror or error}: {remedy}"


def _interrupted(job: Job) -> str:
    if job.write == PIPE or job.read == PIPE or not partial(Path(job.write)).exists():
        return "ended"
    return f"ended: the same command goes on, with what is in {partial(Path(job.write))}"


def _told(summary: Summary) -> list[str]:
    """The summary: rows, labels, rejected rows, time."""
    counts = summary.counts
    labels = ", ".join(
        f"{label} {count:,} ({count / counts.written:.1%})" for label, count in sorted(counts.labels.items())
    )
    lines = [f"{counts.rows:,} rows read, {counts.written:,} written, {counts.rejected:,} rejected"]
    if counts.written:
        lines.append(f"{labels}; uncertain {counts.uncertain:,} ({counts.uncertain / counts.written:.1%})")
    lines.append(f"{summary.seconds:.1f} s, {summary.rate:,.0f} rows/s")
    if summary.rejected is not None:
        lines.append(f"rejected rows: {summary.rejected}")
    return lines


def _end(line: str, code: int) -> NoReturn:
    """Ends the process without waiting for parts in work; the processes that score end with it."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
    os._exit(code)

"""The files in which several workers keep their series, so that whichever is asked adds them up.

prometheus_client maps these files into memory. Where the disk is full, the first write to a page that has no room there
yet ends the process (SIGBUS). So each file gets all its bytes before it is mapped. A worker for which there is no room
counts for itself alone, in memory.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import structlog
from prometheus_client import values

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # which prometheus_client reads when it is imported
_PREFIX = "ovation-metrics-"
_YOUNG_SECONDS = 60.0  # a folder that was just made may not be held yet
# Bytes of each kind of file. A worker begins with 48 KB of counters and 141 KB of histograms; another model adds some
# 10 KB, another key 1 KB. A file that grows beyond this has the risk that is told above.
_BYTES = {
    "gauge_livemax": 2**16,
    "gauge_livesum": 2**16,
    "gauge_max": 2**16,
    "counter": 2**18,
    "histogram": 2**19,
}
_LIVE = "gauge_live"  # kinds that tell of a process only while it lives
_ALONE = "expected room for the metrics that all workers share, found none: each worker without tells its own alone"


@contextlib.contextmanager
def folder() -> Iterator[None]:
    """Makes the folder, which `VARIABLE` names meanwhile; for the process that starts the workers.

    Before, it removes the folders of services that were killed. Without room for a folder there is none.
    """
    path = None
    try:
        _remove_leftovers(Path(tempfile.gettempdir()))
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        _hold(path)
        os.environ[VARIABLE] = str(path)
    except OSError as error:
        os.environ.pop(VARIABLE, None)
        structlog.get_logger("ovation").warning(_ALONE, reason=error.strerror)
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        if path is not None:
            shutil.rmtree(path, ignore_errors=True)


def join() -> None:
    """Makes the files of this process, a worker; called before it makes its first series.

    Those of a worker that has ended become its own: what that one had counted still counts.
    """
    named = os.environ.get(VARIABLE)
    if named is None:
        return
    path, made = Path(named), list[Path]()
    try:
        _hold(path)
        for kind, size in _BYTES.items():
            own = path / f"{kind}_{os.getpid()}.db"
            if kind.startswith(_LIVE) or not _take_over(path, kind, own):
                aside = own.with_suffix(".new")  # who adds up all files would stumble over an empty one
                made += [own, aside]
                aside.write_bytes(bytes(size))
                aside.rename(own)
    except OSError as error:
        for own in made:
            own.unlink(missing_ok=True)
        count_alone()
        structlog.get_logger("ovation").warning(_ALONE, reason=error.strerror)


def count_alone() -> None:
    """This process keeps its series in memory, whatever `VARIABLE` said; called before it makes its first series."""
    os.environ.pop(VARIABLE, None)
    values.ValueClass = values.MutexValue


def remove_gauges_of_ended(path: Path) -> None:
    """Removes the gauges of workers that have ended; their counters stay."""
    for file in path.glob(f"{_LIVE}*.db"):
        if _has_ended(file):
            file.unlink(missing_ok=True)


def _take_over(path: Path, kind: str, own: Path) -> bool:
    """Whether a worker that has ended left its file of this `kind`, which is `own` from now on."""
    for file in path.glob(f"{kind}_*.db"):
        if _has_ended(file):
            with contextlib.suppress(FileNotFoundError):  # another worker that starts was first
                file.rename(own)
                return True
    return False


def _has_ended(file: Path) -> bool:
    """Whether the process that a file is named for has ended."""
    try:
        os.kill(int(file.stem.rpartition("_")[2]), 0)
    except ProcessLookupError:
        return True
    return False


def _hold(path: Path) -> None:
    """Marks a folder as in use for as long as this process lives."""
    fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_SH)


def _remove_leftovers(parent: Path) -> None:
    """Removes the folders whose services have ended without doing so."""
    for path in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # in use, or of another user
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if time.time() - os.fstat(descriptor).st_mtime > _YOUNG_SECONDS:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
            finally:
                os.close(descriptor)

"""The files that workers share their series in: their room, those of workers that have ended, and leftovers."""

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
import pytest

from service.telemetry import shared_files
from tests.support.process import service

# One worker: it joins, counts, and tells what it has of the counter, what all have, and the files that there are.
WORKER = """
import os, resource, sys
from pathlib import Path
folder, limit = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]), int(sys.argv[1])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from service.telemetry import logs, shared_files
logs.configure("json", "info")
shared_files.join()
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
Counter("seen", "x", registry=registry).inc(3)
if shared_files.VARIABLE in os.environ:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
logs.close()
print(generate_latest(registry).decode(), len(list(folder.glob("*.db"))), "files")
"""


def worker(folder: Path, limit: int = 0) -> str:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-c", WORKER, str(limit)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_what_a_worker_counted_goes_on_in_the_next_and_takes_no_more_room(tmp_path: Path) -> None:
    first = worker(tmp_path)
    assert "seen_total 3.0" in first
    files = int(first.split()[-2])
    for times in (2, 3):
        told = worker(tmp_path)
        assert f"seen_total {3.0 * times}" in told
    assert len(list(tmp_path.glob("counter_*.db"))) == len(list(tmp_path.glob("histogram_*.db"))) == 1
    shared_files.remove_gauges_of_ended(tmp_path)
    assert len(list(tmp_path.glob("*.db"))) <= files


@pytest.mark.parametrize("limit", [1000, 100_000])
def test_a_worker_without_room_counts_for_itself_and_says_so(tmp_path: Path, limit: int) -> None:
    told = worker(tmp_path, limit)
    assert "expected room for the metrics that all workers share, found none" in told
    assert "seen_total 3.0" in told
    assert told.endswith(" 0 files\n")


def test_folders_of_services_that_were_killed_are_removed_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv(shared_files.VARIABLE, raising=False)
    left, used, young, other = (
        tmp_path / name for name in ("ovation-metrics-l", "ovation-metrics-u", "ovation-metrics-y", "mine")
    )
    for path in (left, used, young, other):
        path.mkdir()
        (path / "counter_1.db").write_bytes(b"")
        if path != young:
            os.utime(path, (0, 0))
    (tmp_path / "ovation-metrics-link").symlink_to(other)
    descriptor = os.open(used, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    with shared_files.folder():
        made = Path(os.environ[shared_files.VARIABLE])
        assert made.is_dir()
    os.close(descriptor)
    assert not made.exists()
    assert [path.exists() for path in (left, used, young, other / "counter_1.db")] == [False, True, True, True]


def test_without_a_folder_for_temporary_files_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    monkeypatch.setenv(shared_files.VARIABLE, "of an earlier service")
    with shared_files.folder():
        assert shared_files.VARIABLE not in os.environ


def test_a_service_of_one_process_passes_over_a_folder_of_others(tiny_bundle_path: Path, tmp_path: Path) -> None:
    with service(tiny_bundle_path, environment={shared_files.VARIABLE: str(tmp_path)}) as running:
        assert "ovation_waiting_texts 0.0" in httpx.get(f"{running.url}/metrics").text
    assert not list(tmp_path.iterdir())

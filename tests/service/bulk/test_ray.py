"""`ovation score --engine ray`, where Ray is installed: the local engine's rows, also when a worker node is lost.

Elsewhere skipped; `pip install '.[ray]'`, then `python -m pytest tests/service/bulk/test_ray.py`.
"""

import contextlib
import csv
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.tables import ROWS
from tests.support.tabulated import command, environment, score, written

pytest.importorskip("ray.data")
pytestmark = pytest.mark.timeout(600)

FILES, EACH = 12, 300  # files, rows in each


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many files of made-up reviews, one of them with a blank text."""
    found = tmp_path_factory.mktemp("in")
    for number in range(FILES):
        with (found / f"{number:02}.csv").open("w", newline="", encoding="utf-8") as file:
            rows = [(f"{number:02}-{row:03}", f"{ROWS[row % len(ROWS)][0]}\nDay {row}.") for row in range(EACH)]
            if number == 3:
                rows[7] = (rows[7][0], " ")
            csv.writer(file).writerows([("id", "text"), *rows])
    return found


def variables(**others: str) -> dict[str, str]:
    own = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_raylet_start_wait_time_s": "300"}
    return {**environment(), **own, **others}


class Cluster:
    """A head without cores and two worker nodes with one each, on 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self._folder = folder
        port = self.address.split(":")[1]
        head = ("--head", "--port", port, "--num-cpus", "0", "--include-dashboard", "false", "--temp-dir", str(folder))
        self._nodes = [self._start("head", *head, "--min-worker-port", "0", "--max-worker-port", "0")]
        self._nodes += [self._start(name, "--address", self.address, "--num-cpus", "1") for name in ("one", "two")]

    def lose(self) -> None:
        """Kills a worker node and all that runs on it."""
        self._end(self._nodes.pop(), signal.SIGKILL)

    def close(self) -> None:
        for node in reversed(self._nodes):
            self._end(node, signal.SIGTERM)

    def _start(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        log = self._folder / f"{name}.log"
        program = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--node-ip-address", "127.0.0.1"]
        limits = ["--object-store-memory", str(200 * 2**20)]
        with log.open("wb") as output:
            process = subprocess.Popen([*program, *limits, *options], stdout=output, stderr=output, env=variables())
        while b"Ray runtime started" not in log.read_bytes():
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        return process

    def _end(self, node: subprocess.Popen[bytes], number: int) -> None:
        for pid in [*_below(node.pid), node.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        node.wait(60)


def _below(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [one for child in children for one in (*_below(int(child)), int(child))]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Ray's sockets need a short path.
    with contextlib.closing(Cluster(Path(subprocess.check_output(["mktemp", "-d"], text=True).strip()))) as found:
        yield found


def rows_of(out: Path) -> list[dict[str, Any]]:
    """The rows of all files, in the order of their names."""
    return [row for path in sorted(out.iterdir()) for row in written_one(path)]


def written_one(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    rows: list[dict[str, Any]] = pyarrow.parquet.ParquetFile(path).read().to_pylist()
    return rows


def test_rows_are_those_of_the_local_engine_though_a_node_is_lost(
    folder: Path, cluster: Cluster, tmp_path: Path, tiny_bundle_path: Path
) -> None:
    out, options = tmp_path / "ray.parquet", ["--bundle", str(tiny_bundle_path)]
    done = score(folder, tmp_path / "local.parquet", *options)
    assert done.returncode == 4, done.stderr.decode()
    process = subprocess.Popen(
        command(folder / "*.csv", out, *options, "--engine", "ray"),
        stderr=subprocess.PIPE,
        env=variables(RAY_ADDRESS=cluster.address),
    )
    while not out.exists() or len(list(out.iterdir())) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    cluster.lose()
    _, told = process.communicate(timeout=500)
    assert process.returncode == 0, told.decode()
    rows = rows_of(out)
    assert [row["id"] for row in rows] == [f"{number:02}-{row:03}" for number in range(FILES) for row in range(EACH)]
    [rejected] = [row for row in rows if row["rejected"] is not None]
    assert (rejected["id"], rejected["rejected"], rejected["label"]) == ("03-007", "no text", None)
    scored = [{name: value for name, value in row.items() if name != "rejected"} for row in rows if row != rejected]
    assert scored == written(tmp_path / "local.parquet")


def test_what_only_the_local_engine_does_is_refused(folder: Path, tmp_path: Path, tiny_bundle_path: Path) -> None:
    done = score(folder, tmp_path / "out.csv.gz", "--engine", "ray", "--bundle", tiny_bundle_path)
    assert done.returncode == 1
    assert re.search(rb"expected a path or glob|take --engine local", done.stderr)

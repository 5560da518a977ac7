"""Many values at once are counted as they would be one by one."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from service.telemetry.metrics import _Histogram

_VALUES = [0.5, 1.0, math.nextafter(1.0, 2.0), 1.5, 2, 4.0, 7.0, -1.0]


def _told(at_once: bool) -> list[bytes]:
    registry = CollectorRegistry()
    plain = _Histogram("plain", "x", buckets=(1, 2, 4), registry=registry)
    child = _Histogram("labelled", "x", ("model",), buckets=(1.0, 2.0), registry=registry).labels("m")
    for histogram in (plain, child):
        if at_once:
            histogram.observe_all(_VALUES[:3])
            histogram.observe_all(_VALUES[3:])
            histogram.observe_all([])
        else:
            for value in _VALUES:
                histogram.observe(value)
    return [line for line in generate_latest(registry).splitlines() if b"_created" not in line]


def test_at_once_is_one_by_one() -> None:
    assert _told(True) == _told(False)
    assert b"plain_count 8.0" in _told(True)


def test_a_histogram_without_its_labels_takes_nothing() -> None:
    with pytest.raises(ValueError, match="label"):
        _Histogram("labelled", "x", ("model",), registry=CollectorRegistry()).observe_all([1.0])


def test_several_processes_add_up(tmp_path: Path) -> None:
    script = """
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from service.telemetry.metrics import _Histogram
histogram = _Histogram("plain", "x", buckets=(1, 2), registry=CollectorRegistry())
histogram.observe_all([0.5, 1.5, 1.6, 9.0])
registry = CollectorRegistry()
MultiProcessCollector(registry)
print(generate_latest(registry).decode())
"""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for times in (1, 2):
        run = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        assert f'plain_bucket{{le="2.0"}} {3.0 * times}' in run.stdout
        assert f"plain_count {4.0 * times}" in run.stdout

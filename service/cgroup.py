"""What the cgroup lets this process use of the machine: cores and memory."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_NO_LIMIT = 2**60  # cgroup v1 says so with the largest multiple of a page


def cores(root: Path = Path("/")) -> int:
    """Whole cores, at least 1: the cgroup's quota (v1 or v2), and never more than the process may be scheduled on.

    The host's own number says nothing inside a container: threads beyond the quota are only throttled.
    """
    scheduled = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    quotas = []
    for place in _places(root, "cpu"):
        quotas += [_v2(root / "sys/fs/cgroup" / place / "cpu.max")]
        quotas += [_v1(root / "sys/fs/cgroup" / kind / place) for kind in ("cpu", "cpu,cpuacct")]
    return max(1, min(scheduled, int(min((quota for quota in quotas if quota is not None), default=scheduled))))


def memory_bytes(root: Path = Path("/")) -> float:
    """The least of the cgroups' limits (v1 or v2) on memory; infinite without one."""
    limits = [math.inf]
    for place in _places(root, "memory"):
        for path in (f"{place}/memory.max", f"memory/{place}/memory.limit_in_bytes"):
            try:
                limit = int((root / "sys/fs/cgroup" / path.lstrip("/")).read_text())
            except (OSError, ValueError):  # not there, or "max"
                continue
            if limit < _NO_LIMIT:
                limits.append(limit)
    return min(limits)


def _places(root: Path, controller: str) -> Iterator[str]:
    """The process' own cgroup and those above it, as paths under the mount."""
    groups = ["/"]
    try:
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "" or controller in controllers.split(","):
                groups.append(path)
    except (OSError, ValueError):
        pass  # no cgroups, or not Linux
    for group in groups:
        parts = [part for part in group.split("/") if part]
        for depth in range(len(parts) + 1):
            yield "/".join(parts[:depth])


def _v2(path: Path) -> float | None:
    try:
        quota, period = path.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _v1(folder: Path) -> float | None:
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return None if quota <= 0 else quota / period
    except (OSError, ValueError):
        return None

"""The cores and the memory that the cgroup grants this process."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_NO_LIMIT = 2**60  # cgroup v1 writes "no limit" as the largest multiple of the page size below 2**63


def cores(root: Path = Path("/")) -> int:
    """Whole cores, at least 1: the least of the CPU quotas (cgroup v1 or v2) and of the CPU affinity.

    Not the host's number of cores: in a container, threads beyond the quota are throttled.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    quotas = []
    for group in _groups(root, "cpu"):
        quotas += [_quota_v2(root / "sys/fs/cgroup" / group / "cpu.max")]
        quotas += [_quota_v1(root / "sys/fs/cgroup" / mount / group) for mount in ("cpu", "cpu,cpuacct")]
    return max(1, min(affinity, int(min((quota for quota in quotas if quota is not None), default=affinity))))


def memory_bytes(root: Path = Path("/")) -> float:
    """The least of the memory limits (cgroup v1 or v2) in bytes; infinite without a limit."""
    limits = [math.inf]
    for group in _groups(root, "memory"):
        for path in (f"{group}/memory.max", f"memory/{group}/memory.limit_in_bytes"):
            try:
                limit = int((root / "sys/fs/cgroup" / path.lstrip("/")).read_text())
            except (OSError, ValueError):  # no such file, or "max"
                continue
            if limit < _NO_LIMIT:
                limits.append(limit)
    return min(limits)


def free_memory_bytes(root: Path = Path("/")) -> float:
    """Bytes that may still be taken: of the memory limit, or of the machine's where there is none; else infinite."""
    free = math.inf
    for group in _groups(root, "memory"):
        folder = root / "sys/fs/cgroup" / group
        limit = _limit(folder)
        try:
            counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            used = sum(int(counts[name]) for name in ("anon", "shmem", "slab_unreclaimable"))
        except (OSError, ValueError, KeyError):  # no such file, or cgroup v1
            continue
        free = min(free, limit - used)
    if free < math.inf:
        return max(0.0, free)
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]) * 1024
    except (OSError, ValueError, StopIteration):
        return math.inf


def _limit(folder: Path) -> float:
    """The limit of the cgroup in `folder`; infinite without one."""
    try:
        limit = int((folder / "memory.max").read_text())
    except (OSError, ValueError):
        return math.inf
    return limit if limit < _NO_LIMIT else math.inf


def _groups(root: Path, controller: str) -> Iterator[str]:
    """The cgroup of this process and those above it, as paths relative to the controller's mount."""
    own = ["/"]
    try:
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "" or controller in controllers.split(","):
                own.append(path)
    except (OSError, ValueError):
        pass  # no cgroups, or not Linux
    for group in own:
        parts = [part for part in group.split("/") if part]
        for depth in range(len(parts) + 1):
            yield "/".join(parts[:depth])


def _quota_v2(path: Path) -> float | None:
    try:
        quota, period = path.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return None if quota <= 0 else quota / period
    except (OSError, ValueError):
        return None

"""How much of the machine this process may use."""

import os
from pathlib import Path


def available(root: Path = Path("/")) -> int:
    """Whole cores, at least 1: the cgroup's quota (v1 or v2), and never more than the process may be scheduled on.

    The host's own number says nothing inside a container: threads beyond the quota are only throttled.
    """
    scheduled = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return max(1, min(scheduled, int(min(_quotas(root), default=scheduled))))


def _quotas(root: Path) -> list[float]:
    """Every limit in force, in cores: of the process' own cgroup and of those above it."""
    groups = ["/"]
    try:
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "" or "cpu" in controllers.split(","):
                groups.append(path)
    except (OSError, ValueError):
        pass  # no cgroups, or not Linux
    found = []
    for group in groups:
        parts = [part for part in group.split("/") if part]
        for depth in range(len(parts) + 1):
            place = "/".join(parts[:depth])
            found += [_v2(root / "sys/fs/cgroup" / place / "cpu.max")]
            found += [_v1(root / "sys/fs/cgroup" / kind / place) for kind in ("cpu", "cpu,cpuacct")]
    return [quota for quota in found if quota is not None]


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

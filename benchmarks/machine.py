"""The hardware and the versions that a result was measured with, kept in every results file."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("onnxruntime", "numpy", "uvicorn", "uvloop", "fastapi")
_REPOSITORY = Path(__file__).parent.parent


def describe() -> dict[str, Any]:
    """Hardware, versions, revision and time, as JSON values; None for what is unknown here."""
    cores = sorted(os.sched_getaffinity(0))
    revision, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain")
    return {
        "processor": _field(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine(),
        "machine": platform.machine(),
        "cores": len(cores),
        "core_numbers": cores,
        "threads_of_one_core": _siblings(cores),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{package: _version(package) for package in _PACKAGES},
        "git_revision": revision,
        "git_dirty": None if changes is None else bool(changes),
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _field(path: Path, name: str) -> str | None:
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), None)


def _siblings(cores: list[int]) -> list[str] | None:
    """Which of `cores` are hardware threads of one core, each group as the kernel writes it ("0,8")."""
    paths = [Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list") for core in cores]
    return sorted({path.read_text().strip() for path in paths if path.exists()}) or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        # Without optional locks: `git status` would otherwise write the index, and a benchmark must not.
        command = ["git", "--no-optional-locks", *arguments]
        done = subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()

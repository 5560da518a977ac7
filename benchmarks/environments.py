"""Virtual environments for libraries that must not be installed into the project's own: one per requirements file."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.load.servers import ROOT, Unavailable

RUNS = ROOT / "runs"


def environment(requirements: Path) -> Path:
    """The python of the environment with `requirements` installed, created if needed. Raises Unavailable."""
    folder = RUNS / f"bench-{requirements.stem}"
    python, marker = folder / "bin" / "python", folder / ".complete"
    # The marker is written last and names what was installed: an incomplete or outdated environment is made again.
    wanted = f"{sys.version}\n{hashlib.sha256(requirements.read_bytes()).hexdigest()}\n"
    if marker.exists() and marker.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(requirements)]
    for command in ([sys.executable, "-m", "venv", str(folder)], pip):
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""}
        )
        if done.returncode:
            output = (done.stdout + done.stderr).strip()
            raise Unavailable(f"{requirements.name}: {' '.join(command)} failed: {output[-1000:]}")
    marker.write_text(wanted)
    return python

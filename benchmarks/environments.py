"""Virtual environments for what must not be installed into the project's own: one for each file of requirements."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.load.servers import ROOT, Unavailable

RUNS = ROOT / "runs"


def environment(requirements: Path) -> Path:
    """The python of the environment that holds these `requirements`, made first if need be. Raises Unavailable."""
    folder = RUNS / f"bench-{requirements.stem}"
    python, marker = folder / "bin" / "python", folder / ".complete"
    # The marker comes last and names what was installed, so that a half-made or an outdated one is made anew.
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

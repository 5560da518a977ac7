"""What HEALTHCHECK runs in the image: an exit code for what /health/ready says."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from service.model.classifier import Classifier
from tests.support.server import make_app, serving

SCRIPT = Path(__file__).parents[2] / "service" / "healthcheck.py"


def check(port: int) -> int:
    """Its exit code, run as the image runs it."""
    command = [sys.executable, "-I", "-S", str(SCRIPT)]
    return subprocess.run(command, env={**os.environ, "OVATION_PORT": str(port)}, check=False, timeout=30).returncode


def test_ready_is_0_and_all_else_is_1(tiny_classifier: Classifier) -> None:
    app = make_app(tiny_classifier)
    with serving(app) as url:
        port = urlsplit(url).port
        assert port
        assert check(port) == 0
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert check(port) == 1
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        assert check(silent.getsockname()[1]) == 1

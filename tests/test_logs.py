"""Lines for machines and for people, and what never stands in them."""

import subprocess
import sys

import pytest

_SCRIPT = """
import logging
import structlog
from service import logs
logs.configure({format!r}, "debug")
try:
    try:
        raise KeyError("sekret")
    except KeyError as error:
        text = "sekret in a local variable"
        raise ValueError(text) from error
except ValueError as error:
    structlog.get_logger("ovation").error("unhandled error", exc_info=error)
    logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=error)
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_tells_the_place_and_not_the_text(log_format: str) -> None:
    script = _SCRIPT.format(format=log_format)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.count("ValueError") == 2
    assert "unhandled error" in done.stdout
    assert "Exception in ASGI application" in done.stdout
    assert "sekret" not in done.stdout + done.stderr

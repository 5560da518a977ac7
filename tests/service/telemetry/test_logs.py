"""Lines for machines and for people, and what never stands in them."""

import re
import subprocess
import sys

import pytest

_SCRIPT = """
import logging
import structlog
from service.telemetry import logs
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


@pytest.mark.parametrize(("log_format", "level"), [("json", "info"), ("console", "info"), ("json", "warning")])
def test_many_lines_at_once_are_the_lines_one_by_one(log_format: str, level: str) -> None:
    script = f"""
import structlog
from service.telemetry import logs
logs.configure({log_format!r}, {level!r})
lines = [{{"route": "/predict", "seconds": 0.25, "tokens": None}}, {{"route": "ü\\n", "status": 200}}]
logs.info_all("request", lines)
for line in lines:
    structlog.get_logger("ovation").info("request", **line)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found = [re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", line) for line in done.stdout.splitlines()]
    assert found[: len(found) // 2] == found[len(found) // 2 :]
    assert len(found) == (4 if level == "info" else 0)
    assert all("TIME" in line for line in found)

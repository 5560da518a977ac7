"""Logging by structlog, in one format for our lines and uvicorn's: JSON, or columns for a person."""

import logging
import logging.config
import sys
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog
from pydantic_core import to_json


def _to_json(line: Any, **options: Any) -> str:
    return to_json(line, fallback=repr).decode()


# Six lines are shorter than PIPE_BUF (4,096 bytes): workers share a pipe, and only up to that size is a write atomic.
_LINES_A_WRITE = 6

_JSON = structlog.processors.JSONRenderer(serializer=_to_json)


def configure(log_format: str, log_level: str) -> None:
    """Sets up the process's logging. `log_format`: "json", "console" or "auto", which is "console" on a terminal."""
    console = log_format == "console" or (log_format == "auto" and sys.stdout.isatty())
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [
        structlog.processors.ExceptionRenderer(_frames),
        _JSON,
    ]
    if console:
        last = [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=_print_frames)]
    # Our own lines bypass the standard library's logging, which uvicorn uses and which takes several times as long per
    # line: there is a line for every request.
    structlog.configure(
        processors=[*shared, *last],
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        wrapper_class=structlog.make_filtering_bound_logger(log_level),
        cache_logger_on_first_use=True,
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [structlog.stdlib.ExtraAdder(), *shared],
        "processors": [_drop_noise, *last],
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"structured": formatter},
            "handlers": {
                "stdout": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "structured"}
            },
            "root": {"handlers": ["stdout"], "level": log_level.upper()},
        }
    )


def info_all(event: str, lines: Iterable[dict[str, Any]]) -> None:
    """Logs each of `lines` at level info; in JSON with one timestamp, _LINES_A_WRITE lines a write."""
    log = structlog.get_logger("ovation")
    if structlog.get_config()["processors"][-1] is not _JSON or not log.is_enabled_for(logging.INFO):
        for line in lines:
            log.info(event, **line)
        return
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    common = {"event": event, "level": "info", "timestamp": now}
    texts = [f"{_to_json(line | common)}\n" for line in lines]
    for at in range(0, len(texts), _LINES_A_WRITE):
        sys.stdout.write("".join(texts[at : at + _LINES_A_WRITE]))
        sys.stdout.flush()


# A logged traceback has neither local variables nor messages of exceptions, since both may hold users' texts. Messages
# of onnxruntime are logged: it only receives numbers.
_as_dicts = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def _is_safe(kind: type[BaseException]) -> bool:
    return kind.__module__.startswith("onnxruntime")


def _frames(exc_info: structlog.typing.ExcInfo) -> list[dict[str, Any]]:
    chain = _as_dicts(exc_info)  # the exception, then its causes
    for exception in chain if not _is_safe(exc_info[0]) else chain[1:]:
        exception.update(exc_value="", exc_notes=[], exceptions=[])
    return chain


def _print_frames(file: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    kind, error, frames = exc_info
    file.write("\n" + "".join(traceback.format_tb(frames)) + kind.__name__ + (f": {error}" if _is_safe(kind) else ""))


def _drop_noise(logger: object, name: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Removes structlog's internal keys, and uvicorn's second, coloured copy of each message."""
    for key in ("_record", "_from_structlog", "color_message"):
        line.pop(key, None)
    return line

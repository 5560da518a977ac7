"""structlog, in one shape for our lines and uvicorn's: JSON, or columns for a person."""

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


# Workers share one pipe, in which a write of up to PIPE_BUF (4,096 bytes) stays whole, and a longer one may not.
_LINES_A_WRITE = 6

_JSON = structlog.processors.JSONRenderer(serializer=_to_json)


def configure(log_format: str, log_level: str) -> None:
    """Sets up logging for the process: `log_format` is "auto", "json" or "console"."""
    console = log_format == "console" or (log_format == "auto" and sys.stdout.isatty())
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [
        structlog.processors.ExceptionRenderer(_places),
        _JSON,
    ]
    if console:
        last = [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=_print_places)]
    # Our own lines go straight to stdout; the standard library's logging, which uvicorn uses, costs several times as
    # much a line, and there is a line for every request.
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
    """`structlog`'s `info` of each of `lines`; in JSON they are of one time, and written some at a time."""
    log = structlog.get_logger("ovation")
    if structlog.get_config()["processors"][-1] is not _JSON or not log.is_enabled_for(logging.INFO):
        for line in lines:
            log.info(event, **line)
        return
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    same = {"event": event, "level": "info", "timestamp": now}
    texts = [f"{_to_json(line | same)}\n" for line in lines]
    for at in range(0, len(texts), _LINES_A_WRITE):
        sys.stdout.write("".join(texts[at : at + _LINES_A_WRITE]))
        sys.stdout.flush()


# Of a traceback never the local variables, nor what the exception says: both may hold the texts of users. onnxruntime
# sees numbers alone, and what it says of them is worth reading.
_as_dicts = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


def _says(kind: type[BaseException]) -> bool:
    return kind.__module__.startswith("onnxruntime")


def _places(exc_info: structlog.typing.ExcInfo) -> list[dict[str, Any]]:
    found = _as_dicts(exc_info)
    for part in found if not _says(exc_info[0]) else found[1:]:
        part.update(exc_value="", exc_notes=[], exceptions=[])
    return found


def _print_places(file: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    kind, error, places = exc_info
    file.write("\n" + "".join(traceback.format_tb(places)) + kind.__name__ + (f": {error}" if _says(kind) else ""))


def _drop_noise(logger: object, name: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Leaves out what structlog adds for its own use, and uvicorn's second, coloured copy of each message."""
    for key in ("_record", "_from_structlog", "color_message"):
        line.pop(key, None)
    return line

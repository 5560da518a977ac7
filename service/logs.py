"""structlog, in one shape for our lines and uvicorn's: JSON, or columns for a person."""

import logging
import logging.config
import sys
from typing import Any

import structlog
from pydantic_core import to_json


def configure(log_format: str, log_level: str) -> None:
    """Sets up logging for the process: `log_format` is "auto", "json" or "console"."""
    console = log_format == "console" or (log_format == "auto" and sys.stdout.isatty())
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Never the local variables of a traceback: they hold the texts of users.
    tracebacks = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    last: list[Any] = [tracebacks, structlog.processors.JSONRenderer(serializer=_to_json)]
    if console:
        plain = structlog.dev.plain_traceback
        last = [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), exception_formatter=plain)]
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


def _to_json(line: Any, **options: Any) -> str:
    return to_json(line, fallback=repr).decode()


def _drop_noise(logger: object, name: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Leaves out what structlog adds for its own use, and uvicorn's second, coloured copy of each message."""
    for key in ("_record", "_from_structlog", "color_message"):
        line.pop(key, None)
    return line

"""Logging by structlog, in one format for our lines and uvicorn's: JSON, or columns for a person."""

import atexit
import logging
import logging.config
import sys
import traceback
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, TextIO, cast

import structlog
from pydantic_core import to_json

from service.telemetry.log_writer import LogWriter


def _to_json(line: Any, **options: Any) -> str:
    return to_json(line, fallback=repr).decode()


_JSON = structlog.processors.JSONRenderer(serializer=_to_json)

_writer: LogWriter | None = None  # of this process, from `configure` on


def configure(log_format: str, log_level: str) -> None:
    """Sets up the process's logging. `log_format`: "json", "console" or "auto", which is "console" on a terminal."""
    global _writer
    terminal = sys.stdout is not None and sys.stdout.isatty()  # None: the process was started without one
    console = log_format == "console" or (log_format == "auto" and terminal)
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [
        structlog.processors.ExceptionRenderer(_frames),
        _JSON,
    ]
    if console:
        last = [structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=_print_frames)]
    wrapper = structlog.make_filtering_bound_logger(log_level)
    render = structlog.wrap_logger(structlog.ReturnLogger(), [*shared, *last], wrapper)

    def tell(count: int, reason: str) -> str | None:
        line: str | None = render.warning("log lines lost", count=count, reason=reason)
        return line

    # Not through `sys.stdout`: the interpreter's exit flushes its buffer, which can block or raise. A process that was
    # started without stdout may have another file under its number.
    _writer = LogWriter(-1 if sys.stdout is None else 1, tell)
    atexit.register(_writer.close)
    # Our own lines bypass the standard library's logging, which uvicorn uses and which takes several times as long per
    # line: there is a line for every request.
    structlog.configure(
        processors=[*shared, *last],
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _writer)),
        wrapper_class=wrapper,
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
            "handlers": {"writer": {"class": "logging.StreamHandler", "stream": _writer, "formatter": "structured"}},
            "root": {"handlers": ["writer"], "level": log_level.upper()},
        }
    )


def info_all(event: str, lines: Iterable[dict[str, Any]]) -> None:
    """Logs each of `lines` at level info; in JSON with one timestamp, and all put into the buffer at once."""
    log = structlog.get_logger("ovation")
    if _writer is None or structlog.get_config()["processors"][-1] is not _JSON or not log.is_enabled_for(logging.INFO):
        for line in lines:
            log.info(event, **line)
        return
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    common = {"event": event, "level": "info", "timestamp": now}
    _writer.put([to_json(line | common, fallback=repr) + b"\n" for line in lines])


def report_lost(on_lost: Callable[[int], None]) -> None:
    """Has lost lines reported to `on_lost`, as `LogWriter.report_lost` does; without `configure` no line is lost."""
    if _writer is not None:
        _writer.report_lost(on_lost)


def close() -> None:
    """Waits until all lines are written, for at most a second: called before the process ends."""
    if _writer is not None:
        _writer.close()


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

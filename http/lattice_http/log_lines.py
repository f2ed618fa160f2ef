"""How the log is written: one line an event, as JSON or as text, to stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from .json_bytes import encode


def set_up_log(log_format: str, log_level: str) -> None:
    """Configure structlog for the process; *log_format* is ``json`` or ``text``."""
    as_json = log_format == "json"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Plain tracebacks: the pretty ones take a second each, on the event loop.
            structlog.processors.format_exc_info,
            _json if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelName(log_level.upper())
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _json(_: object, __: str, event: MutableMapping[str, Any]) -> str:
    return encode({str(key): _plain(value) for key, value in event.items()}).decode()


def _plain(value: object) -> object:
    if value is None or isinstance(value, str | int | float | list | dict):
        return value
    return str(value)

"""Hypercorn's log, said through structlog. Requests are counted by the metrics, not logged here."""

from __future__ import annotations

import structlog
from hypercorn.config import Config
from hypercorn.logging import Logger
from hypercorn.typing import ResponseSummary, WWWScope

log = structlog.get_logger("lattice_http.server")


class ServerLog(Logger):
    """`Logger` without handlers of its own."""

    def __init__(self, config: Config) -> None:
        self.access_log_format = config.access_log_format
        self.access_logger = None
        self.error_logger = None

    async def access(
        self, request: WWWScope, response: ResponseSummary | None, request_time: float
    ) -> None:
        pass

    async def warning(self, message: str, *args: object, **kwargs: object) -> None:
        log.warning(message, *args, **kwargs)

    async def exception(self, message: str, *args: object, **kwargs: object) -> None:
        log.exception(message, *args, **kwargs)

"""What every test wants: a quiet log. Its default renderer draws tracebacks for a second each."""

from __future__ import annotations

import logging

import structlog

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

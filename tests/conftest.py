"""What every test wants: a quiet log, and laws that a busy machine does not break."""

from __future__ import annotations

import logging

import structlog
from hypothesis import HealthCheck, settings

# Its default renderer draws tracebacks for a second each.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

settings.register_profile(
    "any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

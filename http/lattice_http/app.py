"""The Quart-Trio app: routes, and one shape for every error."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from quart import (
    Blueprint,
    Request,
    Response,
    Websocket,
    has_request_context,
    request,
    websocket,
)
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from lattice_actors.errors import LatticeError

from .admin import admin_routes
from .anthropic import errors as anthropic
from .anthropic.routes import anthropic_routes
from .asgi import ASGIApp
from .asking import caller_of, request_log
from .errors import ErrorAnswer, error_object, error_response, http_error
from .gateway import Gateway
from .health import health_routes
from .live import EnteredFirst
from .llms import llms_routes
from .metrics import metrics_routes
from .openai.routes import openai_routes
from .openapi.routes import openapi_routes
from .request_log import RequestLog
from .responses.routes import responses_routes
from .security import Guarded, SecurityPolicy
from .swarm.registry import Swarms
from .swarm.routes import swarm_routes
from .tokenizing import tokenize_routes

BODY_TIMEOUT_S = 30  # for the whole of a request's body to arrive

log = structlog.get_logger(__name__)


def make_app(gateway: Gateway, policy: SecurityPolicy, more: Sequence[Blueprint] = ()) -> ASGIApp:
    """Return what is served: log, then guard, then routes; *more* are those of other packages."""
    app = QuartTrio("lattice_http", static_folder=None)
    app.asgi_http_class = EnteredFirst
    app.config["MAX_CONTENT_LENGTH"] = None  # `Guarded` counts, chunked bodies too
    app.config["BODY_TIMEOUT"] = BODY_TIMEOUT_S
    app.config["RESPONSE_TIMEOUT"] = None  # answers have their own clocks
    swarms = Swarms(gateway)
    app.register_blueprint(openai_routes(gateway, swarms))
    app.register_blueprint(swarm_routes(swarms))
    app.register_blueprint(anthropic_routes(gateway, swarms))
    app.register_blueprint(responses_routes(gateway, swarms))
    app.register_blueprint(tokenize_routes(gateway, swarms))
    app.register_blueprint(admin_routes(gateway))
    app.register_blueprint(health_routes(gateway))
    app.register_blueprint(metrics_routes(gateway))
    app.register_blueprint(openapi_routes())
    app.register_blueprint(llms_routes())
    for routes in more:
        app.register_blueprint(routes)

    @app.errorhandler(LatticeError)
    async def typed(error: LatticeError) -> Response:
        said = request_log(request)
        if said.get("outcome") in (None, "failed_or_left"):
            said["outcome"] = error.code
        said["problem"] = error_object(error)["message"]
        jitter_s = gateway.settings.queue_retry_jitter_s
        answer = error_response(error, caller_of(request).request_id, jitter_s=jitter_s)
        if answer.status >= 500 and answer.status != 503:
            log.error("request failed", request_id=caller_of(request).request_id, exc_info=error)
        return _response(answer)

    @app.errorhandler(HTTPException)
    async def plain(error: HTTPException) -> Response:
        status = error.code or 500
        code = {404: "not_found", 405: "method_not_allowed", 408: "request_timeout"}
        message = {
            404: f"There is nothing at {_asked().path[:200]}.",
            405: f"{_asked().method} is not allowed here.",
            408: "The body of the request did not arrive in time.",
        }
        answer = http_error(
            status,
            message.get(status, error.description or error.name),
            code.get(status, "invalid_request"),
        )
        response = _response(answer)
        allowed = getattr(error, "valid_methods", None)
        if allowed:
            response.headers["Allow"] = ", ".join(sorted(allowed))
        return response

    @app.errorhandler(Exception)
    async def unforeseen(error: Exception) -> Response:
        request_id = _asked().scope["state"]["request_id"]
        log.error("request failed", request_id=request_id, exc_info=error)
        return _response(error_response(error, request_id))

    return RequestLog(Guarded(app, policy), gateway.lattice.metrics.tell)


def _asked() -> Request | Websocket:
    """What is being answered: a request, or the beginning of a socket."""
    if has_request_context():
        return request._get_current_object()  # type: ignore[attr-defined, no-any-return]
    return websocket._get_current_object()  # type: ignore[attr-defined, no-any-return]


def _response(answer: ErrorAnswer) -> Response:
    if anthropic.is_ours(_asked().path):
        answer = anthropic.in_our_shape(answer)
    response = Response(answer.body, answer.status)
    for name, value in answer.headers:
        response.headers[name] = value
    return response

"""`GET /metrics`: the counters as Prometheus reads them."""

from __future__ import annotations

from quart import Blueprint, Response

from lattice_actors.metrics.prometheus import CONTENT_TYPE, exposition

from .gateway import Gateway


def metrics_routes(gateway: Gateway) -> Blueprint:
    """Return the route; with a key it is closed, as all that tells about the server."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    async def metrics() -> Response:
        scraped = await gateway.lattice.metrics.scrape()
        return Response(exposition(scraped), content_type=CONTENT_TYPE)

    return routes

"""The exporter's routes: /metrics, /healthz, /alerts."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stack.exporter.alerts import Alerts, Notification

BODY_BYTES_MAX = 1 << 20


def app(registry: CollectorRegistry, alerts: Alerts) -> Starlette:
    """The web application over what the watchers measure and Alertmanager sends."""

    async def metrics(request: Request) -> Response:
        names = request.query_params.getlist("name[]")  # as Prometheus' own clients have it: these series alone
        found = registry.restricted_registry(names) if names else registry
        return Response(generate_latest(found), media_type=CONTENT_TYPE_LATEST)

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def receive(request: Request) -> Response:
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > BODY_BYTES_MAX:
                return JSONResponse({"error": f"a notification may have {BODY_BYTES_MAX} bytes"}, 413)
        try:
            alerts.add(Notification.model_validate_json(body))
        except ValidationError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"status": "kept"})

    async def tell(request: Request) -> Response:
        since = request.query_params.get("since", "0")
        try:
            return JSONResponse(alerts.since(float(since)))
        except ValueError:
            return JSONResponse({"error": f"since={since!r}: expected seconds since the epoch"}, 400)

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/alerts", receive, methods=["POST"]),
            Route("/alerts", tell, methods=["GET"]),
        ]
    )

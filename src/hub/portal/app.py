"""The portal as one ASGI application, and the process that serves it.

    headers (``headers.py``) -> compression (``zipping.py``) -> routes (``routes_*.py``) -> ``hubside.py``

An exception is a page, and the same one for everybody.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import uvicorn
from litestar import Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from hub.errors import RequestError
from hub.portal.config import Config, Tls
from hub.portal.headers import Headers
from hub.portal.hubside import HubAwayError
from hub.portal.routes_acts import act_routes
from hub.portal.routes_alerts import alert_routes
from hub.portal.routes_consents import consent_routes
from hub.portal.routes_history import history_routes
from hub.portal.routes_open import open_routes
from hub.portal.routes_own import own_routes
from hub.portal.routes_prove import prove_routes
from hub.portal.signin import ProviderAwayError
from hub.portal.site import FormError, NotFoundError, SignedOutError, Site
from hub.portal.web import PLAIN, ElsewhereError, Portal, go
from hub.portal.zipping import Zipped
from hub.wire.memory import freeze_what_is_there

FORM_BYTES_MAX = 1 << 16
DRAIN_S = 10

ADDRESS_LOGGERS = ("uvicorn.access", "uvicorn.asgi")
"""They would write down addresses, which hold record numbers; whatever the level, no line of them is written."""

logger = logging.getLogger("hub.portal")


def make_app(portal: Portal) -> ASGIApp:
    """The application; it closes the portal at its end."""
    return build_app(
        portal,
        [
            *open_routes(portal), *history_routes(portal), *prove_routes(portal), *act_routes(portal),
            *own_routes(portal), *alert_routes(portal), *consent_routes(portal),
        ],
    )


def build_app(portal: Site, routes: list[HTTPRouteHandler]) -> ASGIApp:
    """An application of a site's pages; it closes the site at its end."""

    def answer(error: str, status: int) -> Callable[[Request[Any, Any, Any], Exception], Response[Any]]:
        def show(request: Request[Any, Any, Any], _: Exception) -> Response[Any]:
            # It says nothing of what was asked for: of all that is not found every byte is the same.
            return portal.page(request, "error.html", status=status, session=None, error=error, here="/", path="/")

        return show

    def show_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
        status = error.status_code
        known = {404: "lost", 405: "lost", 413: "form"}
        return answer(known.get(status, "lost" if status < 500 else "ours"), status)(request, error)

    def show_ours(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        # The kind alone: a message of a library may hold what a page was asked for.
        logger.error("page failed: %s", type(error).__name__, exc_info=error if logger.isEnabledFor(10) else None)
        return answer("ours", 500)(request, error)

    def sign_in(request: Request[Any, Any, Any], _: SignedOutError) -> Response[Any]:
        gone = go("/signin")
        gone.set_cookie(portal.cookie("session", "", max_age=0))
        return gone

    def stay(_: Request[Any, Any, Any], __: ElsewhereError) -> Response[Any]:
        return go(PLAIN)

    app = Litestar(
        route_handlers=routes,
        exception_handlers={
            NotFoundError: answer("lost", 404),
            RequestError: answer("lost", 404),
            FormError: answer("form", 403),
            HubAwayError: answer("away", 503),
            ProviderAwayError: answer("provider", 503),
            SignedOutError: sign_in,
            ElsewhereError: stay,
            HTTPException: show_http,
            Exception: show_ours,
        },
        request_max_body_size=FORM_BYTES_MAX,
        openapi_config=None,
        on_startup=[portal.start],
        on_shutdown=[portal.close],
        debug=False,
        logging_config=None,
    )  # fmt: skip
    return Headers(Zipped(app), secure=portal.secure)


def make_server(portal: Portal) -> uvicorn.Server:
    """A server of a portal that is ready to run."""
    return build_server(make_app(portal), portal.config.host_port, portal.config.tls)


def serve(config: Config, *, ready: Callable[[], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises: as of :func:`serve_site`.
    """
    serve_site(lambda: make_server(Portal(config, time.time)), ready)


def build_server(app: ASGIApp, host_port: tuple[str, int], tls: Tls | None) -> uvicorn.Server:
    """A server of an application."""
    host, port = host_port
    for name in ADDRESS_LOGGERS:
        logging.getLogger(name).disabled = True
    return uvicorn.Server(
        uvicorn.Config(
            app, host=host, port=port,
            ssl_certfile=None if tls is None else tls.certificate, ssl_keyfile=None if tls is None else tls.key,
            access_log=False, log_config=None, server_header=False, proxy_headers=False, lifespan="on", ws="none",
            timeout_graceful_shutdown=DRAIN_S,
        )
    )  # fmt: skip


def serve_site(make: Callable[[], uvicorn.Server], ready: Callable[[], None] | None) -> None:
    """Serve a site until SIGTERM or SIGINT.

    Args:
        make: its server. ready: called before the first request can come.

    Raises:
        RequestError, StorageError: a file of the configuration cannot be used. OSError: the address cannot be.
    """
    server = make()
    if ready is not None:
        ready()
    # Not less often, as in the hub's own server: what a page leaves is large, and 110 MiB more of it would stay.
    freeze_what_is_there()
    run_server(server)


def run_server(server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, and return."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    # Uvicorn raises the signal again when it has stopped, for whoever started it: what is open is closed, not cut.
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=sockets)
    finally:
        signal.signal(signal.SIGTERM, before)

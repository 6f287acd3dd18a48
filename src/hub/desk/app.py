"""The desk as one ASGI application, and the process that serves it: the portal's frame around the desk's pages."""

from __future__ import annotations

import time
from collections.abc import Callable

import uvicorn
from litestar.types import ASGIApp

from hub.desk.config import Config
from hub.desk.routes_ask import ask_routes
from hub.desk.routes_counter import counter_routes
from hub.desk.routes_decide import decide_routes
from hub.desk.routes_open import open_routes
from hub.desk.routes_questions import question_routes
from hub.desk.web import Desk
from hub.portal.app import build_app, build_server, serve_site


def make_app(desk: Desk) -> ASGIApp:
    """The application; it closes the desk at its end."""
    return build_app(desk, [
        *open_routes(desk), *ask_routes(desk), *question_routes(desk), *decide_routes(desk), *counter_routes(desk),
    ])  # fmt: skip


def make_server(desk: Desk) -> uvicorn.Server:
    """A server of a desk that is ready to run."""
    return build_server(make_app(desk), desk.config.host_port, desk.config.tls)


def serve(config: Config, *, ready: Callable[[], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises: as of :func:`hub.portal.app.serve_site`.
    """
    serve_site(lambda: make_server(Desk(config, time.time)), ready)

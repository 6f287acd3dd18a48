"""The application: one route for each method of the table, and the document that describes them."""

from __future__ import annotations

import functools
from typing import Any

from litestar import Litestar, MediaType, Request, Response, Router, post
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from hub.http.calling import Exchange
from hub.http.document import DESCRIPTION, components, operation_of, words_of
from hub.http.problems import PROBLEM, HttpError, encode_problem, headers_of, problem_of
from hub.wire.methods import METHODS

VERSION = "1"


@functools.cache
def build_app() -> Litestar:
    """The application; by whom a request is done comes with it, so that one is enough for all servers."""
    routes = [_route(name) for name in METHODS]
    config = OpenAPIConfig(
        title="hub",
        version=VERSION,
        description=DESCRIPTION,
        # One document, and none of the pages that would load programs from elsewhere to show it.
        path="/",
        security=[{"certificate": []}],
        components=Components(security_schemes={"certificate": SecurityScheme(type="mutualTLS")}),
        render_plugins=[JsonRenderPlugin(path="/openapi.json", media_type=MediaType.JSON)],
    )
    app = Litestar(
        [Router(f"/v{VERSION}", route_handlers=routes)],
        openapi_config=config,
        exception_handlers={HTTPException: _tell_http, Exception: _tell},
        # A diagnosis is the server's affair; the handlers above tell what failed.
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )
    schema = app.openapi_schema
    assert schema.components is not None
    schema.components.schemas = {**(schema.components.schemas or {}), **components()}
    return app


def _route(name: str) -> HTTPRouteHandler:
    summary, description = words_of(name)

    async def call(request: Request[Any, Any, Any]) -> Response[bytes]:
        exchange: Exchange = request.scope["hub"]  # type: ignore[typeddict-item]
        media, body = await exchange.callings.call(name, exchange, list(request.scope["headers"]))
        return Response(body, media_type=media)

    return post(
        f"/{name}", status_code=200, name=name, operation_id=name, summary=summary, description=description,
        operation_class=operation_of(name),
    )(call)  # fmt: skip


def _answer(method: str, error: BaseException) -> Response[bytes]:
    problem = problem_of(method, error)
    return Response(
        encode_problem(problem), status_code=problem.status, media_type=PROBLEM, headers=dict(headers_of(problem))
    )


def _tell(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return _answer(request.scope["path"].rpartition("/")[2], error)


def _tell_http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the application refuses by itself: an unknown path, or another method than POST."""
    answer = _answer("request", HttpError(error.status_code, "request: expected POST of a method that the wire has"))
    if error.headers:
        answer.headers.update(error.headers)
    return answer

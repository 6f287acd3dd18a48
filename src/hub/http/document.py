"""What stands in OpenAPI of each method: made from the table, with the JSON Schemas that msgspec makes of its types."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, Parameter, RequestBody, Schema

from hub.http.calling import INSTITUTION, JSON, MSGPACK
from hub.http.problems import PROBLEM, Problem
from hub.hub import Hub
from hub.limits import HTTP_JSON_BYTES_MAX, INSTITUTION_CODE_CHARS_MAX, WIRE_CALL_BYTES_MAX
from hub.wire.methods import METHODS, REQUESTS

_REF = "#/components/schemas/{name}"

REFUSALS = {
    400: "The request is not of the method's form, or not one that the hub takes; nothing was changed.",
    403: "Not for this certificate.",
    406: "No answer of the type that is accepted.",
    408: "The request did not come within seconds.",
    413: f"The body is too long: {HTTP_JSON_BYTES_MAX} bytes of JSON, {WIRE_CALL_BYTES_MAX} of MessagePack at most.",
    415: "The body has another type, or is compressed.",
    429: "Too much for this institution; come again when Retry-After says.",
    500: "The hub failed; see retry_safe.",
    503: "Too much is under way, or the server closes; come again when Retry-After says.",
}

DESCRIPTION = """\
The methods of the wire (docs/wire.md), which has the meaning of every argument, over HTTP (docs/http.md). A body is a
map of arguments by name, in JSON or MessagePack. In JSON, bytes are base64; columns are bytes: one value behind the
other, little endian, aliases 16 bytes a row. The institution that calls stands in the header Hub-Institution.
"""


class Given(Schema):
    """A JSON Schema as it is."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__()
        self.document = document

    def to_schema(self) -> dict[str, Any]:
        """The document."""
        return self.document


@functools.cache
def _schemas() -> tuple[dict[Any, dict[str, Any]], dict[str, Any]]:
    types: list[Any] = [Problem, *REQUESTS.values(), *(method.result.type for method in METHODS.values())]
    found, components = msgspec.json.schema_components(types, ref_template=_REF)
    for one in (*found, *components.values()):
        _mark(one)
    names = [(name, which) for which in ("request", "reply") for name in METHODS]
    schemas = dict(zip(names, found[1:], strict=True))
    for name in METHODS:
        reply = schemas[name, "reply"]
        if "$ref" not in reply:
            # With a name of its own, as all others have: so generators of clients call what they make of it.
            title = REQUESTS[name].__name__.removesuffix("Request") + "Reply"
            for word in ("items", "additionalProperties"):
                if "prefixItems" in reply.get(word, {}):
                    components[f"{title}Row"] = reply[word]
                    reply[word] = {"$ref": _REF.format(name=f"{title}Row")}
            components[title] = reply
            schemas[name, "reply"] = {"$ref": _REF.format(name=title)}
    return schemas, components


def _mark(schema: Any) -> None:
    """Say of base64 also what generators of clients know it by, and of tuples only what all of them understand."""
    for one in list(_walk(schema)):
        if one.get("contentEncoding") == "base64":
            one["format"] = "byte"
        if "prefixItems" in one and one.get("items") is False:
            # maxItems says the same.
            del one["items"]


def _walk(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from _walk(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _walk(value)


def components() -> dict[str, Any]:
    """The schemas that the others refer to, by name."""
    return {name: Given(document) for name, document in _schemas()[1].items()}


def operation_of(name: str) -> type[Operation]:
    """What stands there of one method."""

    class Described(Operation):
        def __init__(self, **words: Any) -> None:
            super().__init__(**words)
            fields = msgspec.structs.fields(REQUESTS[name])
            self.request_body = RequestBody(
                content={JSON: _media(name, "request"), MSGPACK: _binary()},
                required=any(field.required for field in fields),
            )
            self.responses = {
                "200": OpenAPIResponse(
                    description="What came of it.", content={JSON: _media(name, "reply"), MSGPACK: _binary()}
                ),
                **{str(status): _refusal(status, text) for status, text in REFUSALS.items()},
            }
            self.parameters = [_institution(name)]

    return Described


def _media(name: str, which: str) -> OpenAPIMediaType:
    return OpenAPIMediaType(schema=Given(_schemas()[0][name, which]))


def _binary() -> OpenAPIMediaType:
    return OpenAPIMediaType(schema=Given({"description": "The same in MessagePack: bytes as such."}))


def _refusal(status: int, text: str) -> OpenAPIResponse:
    return OpenAPIResponse(
        description=text, content={PROBLEM: OpenAPIMediaType(schema=Given({"$ref": _REF.format(name="Problem")}))}
    )


def _institution(name: str) -> Parameter:
    only = METHODS[name].only
    text = "Who calls; may be left out by whoever has only one institution, or where it says nothing."
    if only is not None:
        text = f"Only {only}, which may be left out."
    schema = Given({"type": "string", "minLength": 1, "maxLength": INSTITUTION_CODE_CHARS_MAX})
    return Parameter(name=INSTITUTION, param_in="header", description=text, required=False, schema=schema)


def words_of(name: str) -> tuple[str, str | None]:
    """Summary and description of a method: its docstring in the Hub."""
    text = inspect.getdoc(getattr(Hub, name)) or name
    first, _, rest = text.partition("\n")
    return first, rest.strip() or None

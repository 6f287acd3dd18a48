"""What schemathesis is told here: MessagePack, and which institutions there are; it would hardly ever guess one."""

from __future__ import annotations

import os
import zlib
from typing import Any

import msgspec
import schemathesis

CODES = os.environ["HUB_HTTP_CODES"].split()


@schemathesis.hook
def before_call(_: Any, case: Any, __: Any) -> None:
    """Of seven requests six name an institution that may call, in turns; the others what was generated, or none."""
    turn = zlib.crc32(str(case.id).encode()) % (len(CODES) * 7)
    if turn % 7:
        case.headers["Hub-Institution"] = CODES[turn // 7]


@schemathesis.serializer("application/msgpack")
def serialize(_: Any, value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # What MessagePack cannot say is sent as what is none.
        return b"\xc1" + repr(value).encode("utf-8", "replace")


@schemathesis.deserializer("application/msgpack")
def deserialize(_: Any, response: Any) -> Any:
    # With bytes as base64, as the same would be in JSON.
    return msgspec.to_builtins(msgspec.msgpack.decode(response.content))

"""A request becomes a call like any of the wire's, is done by the same ``Calls``, and its reply becomes an answer.

MessagePack goes through as it is. JSON is the same by another writing: objects for maps, base64 for bytes, which
columns are, ISO 8601 for moments. It is written over on both ways, by the types that the table of methods has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from hub.errors import RequestError
from hub.http.body import Body
from hub.http.problems import HttpError
from hub.http.protocol import Place
from hub.limits import HTTP_JSON_BYTES_MAX, WIRE_CALL_BYTES_MAX, WIRE_PART_BYTES
from hub.wire.access import Party
from hub.wire.calls import LOOP_BYTES_MAX, Work
from hub.wire.methods import METHODS, REPLY_DECODERS, REQUESTS
from hub.wire.words import Call

INSTITUTION = "hub-institution"
"""The header that names who calls."""

JSON, MSGPACK = "application/json", "application/msgpack"
_BYTES_MAX = {JSON: HTTP_JSON_BYTES_MAX, MSGPACK: WIRE_CALL_BYTES_MAX}
_NOTHING = {JSON: b"{}", MSGPACK: b"\x80"}

_REQUESTS = {name: msgspec.json.Decoder(request) for name, request in REQUESTS.items()}
_MSGPACK, _JSON = msgspec.msgpack.Encoder(), msgspec.json.Encoder()

NOT_OF_ITS_FORM = (msgspec.DecodeError, RecursionError, UnicodeError)


class Exchange(NamedTuple):
    """One request, as the application sees it.

    Attributes:
        party: who asks. peer: the address of the connection, None behind a proxy. body: what has not been read.
        callings: by whom it is done. named: told for whom it is, once that is known.
    """

    party: Party
    peer: str | None
    body: Body
    callings: Callings
    named: Callable[[str], None]

    def __repr__(self) -> str:
        return f"Exchange({self.body})"


class Asked(NamedTuple):
    """What the headers of a request say.

    Attributes:
        media: of the body. accepted: of the answer. institution: who calls, None where it is not said.
    """

    media: str
    accepted: str
    institution: str | None

    def __repr__(self) -> str:
        return f"Asked({self.media}, {self.accepted})"


class Waiting:
    """Who waits for a call: one request. What it came to is an outcome, so that nobody need be there for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.outcome: asyncio.Future[bytes | memoryview | BaseException] = loop.create_future()

    def __repr__(self) -> str:
        return f"Waiting(done={self.outcome.done()})"

    def answer(self, number: int, body: bytes | memoryview) -> None:
        """The call is done."""
        if not self.outcome.done():
            self.outcome.set_result(body)

    def fail(self, number: int, method: str, error: BaseException) -> None:
        """The call failed."""
        if not self.outcome.done():
            self.outcome.set_result(error)

    def advance(self, number: int, rows: int) -> None:
        """Nobody is told how far it is."""


class Callings:
    """Does the calls of HTTP requests. Its methods are for the loop's thread."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._writers = ThreadPoolExecutor(1, "hub-json")

    def __repr__(self) -> str:
        return "Callings()"

    def close(self) -> None:
        """Wait for what is being written."""
        self._writers.shutdown(cancel_futures=True)

    async def call(self, name: str, exchange: Exchange, headers: list[tuple[bytes, bytes]]) -> tuple[str, bytes]:
        """Do one call: media type and bytes of its reply.

        Raises:
            HubError: as of the wire; HttpError: of HTTP's own.
        """
        calls, loop = self._place.calls, asyncio.get_running_loop()
        asked = read_headers(headers, empty=exchange.body.announced == 0)
        institution = choose_institution(exchange.party, name, asked.institution)
        # Who may not call is refused before anything of the body is read.
        method = calls.check(exchange.party, Call(0, institution, name, False, 0, memoryview(b"")), exchange.peer)
        exchange.named(institution)
        counted = 0

        def reserve(size: int) -> None:
            nonlocal counted
            calls.reserve(size, institution, name)
            counted += size

        try:
            data: bytes | bytearray = await exchange.body.read(_BYTES_MAX[asked.media], reserve)
            data = data or _NOTHING[asked.media]
            if asked.media == JSON:
                data = await self._write(len(data), lambda: from_json(name, data))
            waiting = Waiting(loop)
            work = Work(
                waiting, Call(0, institution, name, False, len(data), memoryview(data)), method, exchange.party,
                memoryview(data), counted,
            )  # fmt: skip
            # From here on they are counted off by who does it.
            counted = 0
            calls.begin(work)
        finally:
            if counted:
                calls.count(-counted, institution)
        outcome = await waiting.outcome
        if isinstance(outcome, BaseException):
            raise outcome
        if asked.accepted == MSGPACK:
            return MSGPACK, bytes(outcome)
        if len(outcome) > HTTP_JSON_BYTES_MAX:
            raise HttpError(406, f"{name}: expected a reply of at most {HTTP_JSON_BYTES_MAX} bytes as JSON, got more")
        size = len(outcome) if len(outcome) > WIRE_PART_BYTES else 0
        # It waits for its turn: so it counts, as it does when it leaves.
        calls.count(size, institution)
        try:
            return JSON, await self._write(len(outcome), lambda: to_json(name, bytes(outcome)))
        finally:
            calls.count(-size, institution)

    async def _write(self, size: int, work: Callable[[], bytes]) -> bytes:
        """Write something over, in a thread where it is long."""
        if size <= LOOP_BYTES_MAX:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._writers, work)


def from_json(name: str, body: bytes | bytearray) -> bytes:
    """The arguments of a method in MessagePack.

    Raises:
        RequestError: they have not the method's form.
    """
    try:
        return _MSGPACK.encode(_REQUESTS[name].decode(body))
    except NOT_OF_ITS_FORM as error:
        raise RequestError(f"{name}: {_words(error)}") from None
    except OverflowError:
        raise RequestError(f"{name}: expected numbers of at most 64 bits, got a greater one") from None


def to_json(name: str, body: bytes) -> bytes:
    """The result of a method in JSON."""
    return _JSON.encode(REPLY_DECODERS[name].decode(body))


def _words(error: BaseException) -> str:
    """What an error says of the form; of text that is no UTF-8 it would name a byte."""
    return str(error) if isinstance(error, msgspec.DecodeError) else "expected JSON in UTF-8, got something else"


def read_headers(headers: list[tuple[bytes, bytes]], *, empty: bool) -> Asked:
    """What the headers say of body, answer and institution.

    Args:
        empty: whether there is no body, which is the same as one without arguments.

    Raises:
        HttpError: a body of another type, compressed, or wanted as another type; or somebody calls for two.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name == b"accept" and name in found:
            found[name] += b"," + value
        elif name in (b"content-type", b"content-encoding", b"accept", b"hub-institution"):
            if name in found:
                raise HttpError(400, f"headers: expected {name.decode()} once, got it twice")
            found[name] = value
    if found.get(b"content-encoding", b"identity").strip().lower() != b"identity":
        raise HttpError(415, "body: expected no content-encoding, got one")
    media = _read_media(found.get(b"content-type"), empty=empty)
    institution = found.get(b"hub-institution")
    accepted = _choose_media(found.get(b"accept", b"*/*"), media)
    return Asked(media, accepted, None if institution is None else institution.decode("latin-1").strip())


def _read_media(value: bytes | None, *, empty: bool) -> str:
    if value is None and empty:
        return JSON
    words = (value or b"").decode("latin-1").split(";")
    media = words[0].strip().lower()
    parameters = {word.strip().lower().replace('"', "") for word in words[1:]} - {"", "charset=utf-8"}
    if media not in _BYTES_MAX or parameters:
        raise HttpError(415, f"body: expected {JSON} or {MSGPACK}, got another")
    return media


def _choose_media(value: bytes, media: str) -> str:
    """The type of the answer: that of the body, if the client does not want the other one more.

    Raises:
        HttpError: it wants neither.
    """
    # Of several ranges that fit a type the narrowest says how much it is wanted.
    wanted: dict[str, tuple[int, float]] = {}
    for text in value.decode("latin-1").split(","):
        words = [word.strip().lower() for word in text.split(";")]
        quality = 1.0
        for word in words[1:]:
            if word.startswith("q="):
                try:
                    quality = float(word[2:])
                except ValueError:
                    quality = 0.0
        for one in _BYTES_MAX:
            narrow = {one: 2, "application/*": 1, "*/*": 0, "": 0}.get(words[0])
            if narrow is not None and narrow >= wanted.get(one, (-1, 0.0))[0]:
                wanted[one] = narrow, quality
    best = max(wanted, key=lambda one: (wanted[one][1], one == media), default=None)
    if best is None or not wanted[best][1] > 0:
        raise HttpError(406, f"accept: expected {JSON} or {MSGPACK}, got others")
    return best


def choose_institution(party: Party, name: str, said: str | None) -> str:
    """For whom a method is called: who is named; else the only one that may call it, or that this party has.

    Raises:
        RequestError: none is named, and there are several.
    """
    method = METHODS[name]
    if said is not None:
        return said
    if method.only is not None:
        return method.only
    codes = sorted(party.institutions)
    if len(codes) > 1 and method.names:
        raise RequestError(f"{INSTITUTION}: expected one of those of this certificate, got none")
    return codes[0]

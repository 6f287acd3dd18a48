"""The client's calls: a pool of connections, what is given again after a failure, and until when.

A call is given again where the hub was busy, and where a connection failed under one that may be repeated
(``Method.again``): an inquiry by its request id, what changes nothing, what is the same when it is done twice.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import random
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from hub.errors import BusyError, HubError, RequestError, StorageError
from hub.hub import Hub
from hub.messages import Answers, History, Notices
from hub.wire.config import is_loopback
from hub.wire.doing import join_answers
from hub.wire.faults import LateError, WireError
from hub.wire.frames import FrameError
from hub.wire.link import Link, Told
from hub.wire.methods import METHODS, REPLY_DECODERS, REQUESTS
from hub.wire.packing import encode_body
from hub.wire.results import HistoryBody, NoticesBody, make_proofs
from hub.wire.tlsfiles import ClientFiles, Place, tls_error

SMALL_TIMEOUT_S, BULK_TIMEOUT_S = 60.0, 900.0
"""How long a call may take where its caller does not say: with all its retries."""

TIMEOUT_MAX_S = 7 * 86_400
CONNECT_S = 10.0
NEXT_ADDRESS_S = 0.25
"""Where a name has several addresses, the next is tried beside one that does not answer for so long (RFC 8305)."""
GOODBYE_S = 1.0
DELAY_S, DELAY_MAX_S = 0.05, 2.0
POOL = 2

logger = logging.getLogger("hub")



class Options(NamedTuple):
    """How to connect.

    Attributes:
        host, port: of the server. files: for TLS; None on loopback without it.
        institution: for which calls are made that name none. timeout: of every call, seconds.
        pool: connections at most.
    """

    host: str
    port: int
    files: ClientFiles | None
    institution: str | None
    timeout: float | None
    pool: int


def make_options(
    address: str,
    cert: Place | None,
    key: Place | None,
    ca: Place | None,
    institution: str | None,
    timeout: float | None,
    pool: int,
) -> Options:
    """Check what ``connect`` was given.

    Raises:
        RequestError: it has another form, or a file cannot be used.
    """
    scheme, host, port = _split(address)
    check_timeout(timeout)
    if isinstance(pool, bool) or not isinstance(pool, int) or pool < 1:
        raise RequestError("pool: expected at least 1 connection, got something else")
    if scheme == "hub":
        if not is_loopback(host):
            raise RequestError("address: expected hubs:// for another machine, got hub://")
        return Options(host, port, None, institution, timeout, pool)
    if cert is None or ca is None:
        raise RequestError("connect: expected cert= and ca= with hubs://, got none")
    return Options(host, port, ClientFiles(cert, key, ca), institution, timeout, pool)


def _split(address: str) -> tuple[str, str, int]:
    """Scheme, host and port."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except (ValueError, TypeError, AttributeError):
        host = port = None
    if host is None or port is None or parts.scheme not in ("hubs", "hub") or (
        # Nothing else: a name or a password here would go nowhere.
        parts.netloc.rpartition("@")[1] or parts.path not in ("", "/") or parts.query or parts.fragment
    ):  # fmt: skip
        raise RequestError("address: expected hubs://host:port, got something else")
    return str(parts.scheme), host, port


def check_timeout(timeout: Any) -> None:
    """Refuse what is no number of seconds.

    Raises:
        RequestError: it is none.
    """
    if timeout is not None and (
        isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= TIMEOUT_MAX_S
    ):
        raise RequestError(f"timeout: expected more than 0 and at most {TIMEOUT_MAX_S} seconds, got something else")


class Wanted(NamedTuple):
    """A call as its caller gave it, in the wire's words."""

    name: str
    institution: str | None
    request: msgspec.Struct
    timeout: float | None
    progress: Told | None

    def __repr__(self) -> str:
        return f"Wanted({self.name})"


class Signature:
    """How a method is called: as :class:`inspect.Signature`, in a tenth of its time (7 us) where nothing is wrong."""

    __slots__ = ("_known", "_needed", "_places", "_whole")

    def __init__(self, parameters: list[inspect.Parameter]) -> None:
        """Args: parameters: named ones, all of them."""
        self._whole = inspect.Signature(parameters)
        self._known = frozenset(one.name for one in parameters)
        self._needed = frozenset(one.name for one in parameters if one.default is one.empty)
        self._places = tuple(one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD)

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """Of the method, by name."""
        return self._whole.parameters

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """What was given, by name.

        Raises:
            TypeError: there is one too many, or one lacks.
        """
        given = dict(zip(self._places, args, strict=False))
        usual = len(args) <= len(self._places) and self._known.issuperset(kwargs) and given.keys().isdisjoint(kwargs)
        given.update(kwargs)
        if usual and self._needed.issubset(given):
            return given
        return self._whole.bind(*args, **kwargs).arguments


def signature_of(name: str, *, proofs: bool = False) -> Signature:
    """The embedded method's, with ``timeout``."""
    member = getattr(Hub, name)
    parameters = [] if isinstance(member, property) else list(inspect.signature(member).parameters.values())[1:]
    more = ["timeout", *(["proofs"] if proofs else [])]
    extra = [inspect.Parameter(one, inspect.Parameter.KEYWORD_ONLY, default=None) for one in more]
    return Signature(parameters + extra)


def bind_call(name: str, signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Wanted:
    """What was called, in the wire's words.

    Raises:
        RequestError: an argument has the wrong form. TypeError: there is one too many, or one lacks.
    """
    method = METHODS[name]
    given = signature.bind(args, kwargs)
    timeout, progress = given.pop("timeout", None), given.pop("progress", None)
    check_timeout(timeout)
    institution: Any = method.only
    if method.of is not None:
        argument, _, field = method.names.partition(".")
        institution = getattr(given[argument], field, None)
    elif method.names:
        named = [given.pop(one, None) for one in (method.names, "institution", "requester") if one not in method.params]
        institution = next((one for one in named if one is not None), None)
    if institution is not None and not isinstance(institution, str):
        raise RequestError(f"institution: expected a code, got {type(institution).__name__}")
    packed = {field: method.params[field].pack(value) for field, value in given.items()}
    return Wanted(name, institution, REQUESTS[name](**packed), timeout, progress)


def ask_further(wanted: Wanted, after: bytes) -> Wanted:
    """The call for what of a copy comes behind a place.

    Raises:
        FrameError: the place is the one behind which it was asked for already: this would never end.
    """
    request: Any = wanted.request
    if request.after == after:
        raise FrameError("copy_of: expected another place in every reply, got the same one again")
    return wanted._replace(request=msgspec.structs.replace(request, after=after))


class WireCaller:
    """Calls methods of one server. Used in one loop only."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._links: list[Link] = []
        self._connecting = asyncio.Lock()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"WireCaller(connections={len(self._links)})"

    @property
    def institution(self) -> str | None:
        """For whom calls are made that name nobody, where the caller said so."""
        return self._options.institution

    @property
    def institutions(self) -> list[str]:
        """Codes of the institutions for which the server lets this client call."""
        for link in self._links:
            if link.welcome is not None:
                return list(link.welcome.institutions)
        return []

    async def start(self) -> None:
        """Make the first connection, so that what is wrong with it is known at once.

        Raises:
            WireError: nobody answers there. AccessError: the server does not take the certificate.
        """
        self._loop = asyncio.get_running_loop()
        link = await self._connect(CONNECT_S)
        self._links.append(link)

    async def close(self) -> None:
        """Close the connections; may be called again."""
        self._closed = True
        links, self._links = self._links, []
        for link in links:
            link.close()
        if links:
            await asyncio.wait([link.gone for link in links], timeout=GOODBYE_S)
        for link in links:
            link.abort()

    # -- calls

    async def call(self, wanted: Wanted) -> Any:
        """Make a call, as long and as often as it takes, within its time.

        Raises:
            HubError: as of the embedded hub; WireError: the connection failed; LateError: the time is over.
        """
        loop = asyncio.get_running_loop()
        if self._loop not in (None, loop):
            raise RequestError("hub: expected the loop in which it was connected, got another")
        self._loop = loop
        bulk = METHODS[wanted.name].bulk
        timeout = wanted.timeout if wanted.timeout is not None else self._options.timeout
        if timeout is None:
            timeout = BULK_TIMEOUT_S if bulk else SMALL_TIMEOUT_S
        deadline = loop.time() + timeout
        if wanted.name == "answers":
            return await self._answers(wanted, deadline)
        return METHODS[wanted.name].result.unpack(await self._body(wanted, deadline))

    async def _answers(self, wanted: Wanted, deadline: float) -> Answers:
        """All answers that were asked for, a reply's worth at a time."""
        found: list[Answers] = []
        request: Any = wanted.request
        while True:
            body = await self._body(wanted._replace(request=request), deadline)
            answers, more = METHODS["answers"].result.unpack(body)
            found.append(answers)
            if not more or not len(answers):
                return join_answers(found)
            left = None if request.limit is None else request.limit - len(answers)
            request = msgspec.structs.replace(request, first=request.first + len(answers), limit=left)

    async def _body(self, wanted: Wanted, deadline: float) -> Any:
        try:
            arguments = encode_body(wanted.request)
        except (TypeError, OverflowError, UnicodeEncodeError):
            raise RequestError(f"{wanted.name}: expected arguments of the method's types, got others") from None
        loop, delay = asyncio.get_running_loop(), DELAY_S
        failure: HubError
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    body = await self._once(wanted, arguments)
            except TimeoutError:
                raise LateError(f"{wanted.name}: no answer in time") from None
            except BusyError as busy:
                failure, wait = busy, max(busy.retry_after_s, 0.01)
            except WireError as broken:
                if not (broken.retry_safe or METHODS[wanted.name].again):
                    raise
                if delay == DELAY_S:
                    # Once a call, so that whoever waits knows for what.
                    logger.warning("%s: %s; trying again", wanted.name, broken)
                failure, wait = broken, delay
                delay = min(2 * delay, DELAY_MAX_S)
            else:
                return _decode_reply(wanted.name, body)
            # Not all at the same moment when a server comes back.
            wait *= 1 + random.random() / 2
            if self._closed or loop.time() + wait >= deadline:
                raise failure
            await asyncio.sleep(wait)

    async def _once(self, wanted: Wanted, arguments: bytes | memoryview) -> memoryview:
        link = await self._link()
        institution = wanted.institution or self._options.institution
        if institution is None:
            assert link.welcome is not None
            codes = link.welcome.institutions
            if len(codes) > 1 and METHODS[wanted.name].names:
                raise RequestError("institution: expected one of those of this connection, got none")
            institution = codes[0]
        return await link.call(institution, wanted.name, arguments, wanted.progress)

    # -- connections

    async def _link(self) -> Link:
        """The connection with the fewest open calls, or a new one."""
        if self._closed:
            raise RequestError("hub: expected an open connection, got a closed one")
        self._links = [link for link in self._links if link.usable]
        best = min(self._links, key=lambda link: link.open_calls, default=None)
        if best is not None and (not best.open_calls or len(self._links) >= self._options.pool):
            return best
        async with self._connecting:
            self._links = [link for link in self._links if link.usable]
            if len(self._links) < self._options.pool:
                try:
                    link = await self._connect(CONNECT_S)
                except HubError:
                    if any(link.usable for link in self._links):
                        return min((link for link in self._links if link.usable), key=lambda link: link.open_calls)
                    raise
                if self._closed:
                    link.close()
                # Only now: meanwhile another call may have put another list there.
                self._links.append(link)
            return min(self._links, key=lambda link: link.open_calls)

    async def _connect(self, timeout: float) -> Link:
        options = self._options
        loop = asyncio.get_running_loop()
        link: Link | None = None
        try:
            async with asyncio.timeout(timeout):
                context = None if options.files is None else options.files.context()
                name = None if context is None else options.host
                _, link = await loop.create_connection(
                    Link, options.host, options.port, ssl=context, server_hostname=name,
                    **_beside(loop),
                )  # fmt: skip
                await link.greeted
        except TimeoutError:
            raise WireError("connection: no answer from the server", retry_safe=True) from None
        except ssl.SSLError as error:
            raise tls_error(error) from None
        except OSError as error:
            raise WireError(f"connection: {_cause(error)}", retry_safe=True) from None
        finally:
            if link is not None and not link.usable:
                link.close()
        return link


def _cause(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return error.strerror or "the name is unknown"
    # Of asyncio's own text there is one an address, and none where the name has several.
    return os.strerror(error.errno).lower() if error.errno else "none of the server's addresses answers"


def _decode_reply(name: str, body: memoryview) -> Any:
    try:
        return REPLY_DECODERS[name].decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise FrameError(f"{name}: expected a reply of its form, got another: {error}") from None


def make_history(body: HistoryBody, prove: Callable[[list[int]], HistoryBody] | None) -> History:
    """A page as the embedded hub gives it.

    Args:
        prove: asks for the proofs of records by their indexes; None where they came with the page.
    """

    def proofs() -> list[Any]:
        if body.proofs or not body.records:
            return make_proofs(body)
        if prove is None:
            raise RequestError("proof: expected history(..., proofs=True) before, got a page without proofs")
        found = prove([record.index for record in body.records])
        if [record.index for record in found.records] != [record.index for record in body.records]:
            raise StorageError("proof: expected those of the page, got others")
        return make_proofs(found)

    page = History(body.records, body.cursor, proofs, body.disclosure)
    return Notices.of(page, body.texts) if isinstance(body, NoticesBody) else page


def _beside(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """That several addresses are tried beside each other, where the loop can: uvloop's takes one after the other."""
    return {"happy_eyeballs_delay": NEXT_ADDRESS_S} if isinstance(loop, asyncio.BaseEventLoop) else {}

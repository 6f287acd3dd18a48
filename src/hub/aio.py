"""A hub on another machine, for coroutines: ``async with hub.aio.connect(...) as h: await h.inquire(...)``.

As ``client.py``, with every method awaitable. A page of ``history``, ``notices`` or ``proxy_history`` has its proofs
only if it was asked for with ``proofs=True``; ``catalog`` and ``verifier_key`` are awaited as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from hub.catalog import Catalog
from hub.hub import Hub
from hub.messages import History
from hub.wire.caller import (
    POOL,
    Options,
    Wanted,
    WireCaller,
    ask_further,
    bind_call,
    make_history,
    make_options,
    signature_of,
)
from hub.wire.faults import NotOnWireError
from hub.wire.methods import METHODS, PAGES
from hub.wire.results import HistoryBody
from hub.wire.tlsfiles import Place

_EMPTY = msgspec.defstruct("Empty", [])()


if TYPE_CHECKING:
    from hub.wire.typed import AsyncRemoteMethods as _Methods
else:
    # At run time the methods are made from the table, below.
    _Methods = object


class AsyncRemote(_Methods):
    """A hub that is served elsewhere. Made by :func:`connect`; used in the loop in which it was awaited."""

    def __init__(self, options: Options) -> None:
        self._caller = WireCaller(options)

    def __await__(self) -> Generator[Any, None, AsyncRemote]:
        return self._start().__await__()

    async def _start(self) -> AsyncRemote:
        await self._caller.start()
        return self

    async def __aenter__(self) -> AsyncRemote:
        return await self._start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncRemote({self._caller!r})"

    if not TYPE_CHECKING:
        # Whoever checks types is told at once.
        def __getattr__(self, name: str) -> Any:
            if any(name in vars(base) for base in Hub.__mro__):
                raise NotOnWireError(f"{name}: expected a method that the wire has, got one of whoever runs the folder")
            raise AttributeError(f"{type(self).__name__} has no attribute {name}")

    @property
    def institution(self) -> str | None:
        """For whom calls are made that name nobody, where :func:`connect` was told."""
        return self._caller.institution

    @property
    def institutions(self) -> list[str]:
        """Codes of the institutions for which this connection may call."""
        return self._caller.institutions

    @property
    def catalog(self) -> Coroutine[Any, Any, Catalog]:
        """The legal basis in force at the server; to be awaited."""
        return self._caller.call(Wanted("catalog", None, _EMPTY, None, None))

    @property
    def verifier_key(self) -> Coroutine[Any, Any, str]:
        """The log's public key as a C2SP vkey; to be awaited."""
        return self._caller.call(Wanted("verifier_key", None, _EMPTY, None, None))

    async def close(self) -> None:
        """Close the connections; may be called again."""
        await self._caller.close()

    async def _history(self, wanted: Wanted, proofs: bool) -> History:
        body: HistoryBody = await self._caller.call(wanted)
        if proofs and body.records:
            indexes = [record.index for record in body.records]
            request = msgspec.structs.replace(wanted.request, proofs=indexes)
            found: HistoryBody = await self._caller.call(wanted._replace(request=request))
            body = msgspec.structs.replace(body, proofs=found.proofs)
        return make_history(body, None)

    async def _copy(self, wanted: Wanted) -> Iterator[Any]:
        """All parts of a copy: an iterator cannot be waited for."""
        found = await self._caller.call(wanted)
        parts = list(found.parts)
        while found.after is not None:
            wanted = ask_further(wanted, found.after)
            found = await self._caller.call(wanted)
            parts += found.parts
        return iter(parts)


def _method(name: str) -> Callable[..., Any]:
    history = name in PAGES
    signature = signature_of(name, proofs=history)

    @functools.wraps(getattr(Hub, name))
    async def call(self: AsyncRemote, *args: Any, **kwargs: Any) -> Any:
        if history:
            proofs = bool(kwargs.pop("proofs", False))
            return await self._history(bind_call(name, signature, args, kwargs), proofs)
        wanted = bind_call(name, signature, args, kwargs)
        return await self._copy(wanted) if name == "copy_of" else await self._caller.call(wanted)

    return call


for _name in METHODS:
    if _name not in ("catalog", "verifier_key"):
        setattr(AsyncRemote, _name, _method(_name))


def connect(
    address: str,
    *,
    cert: Place | None = None,
    key: Place | None = None,
    ca: Place | None = None,
    institution: str | None = None,
    timeout: float | None = None,
    pool: int = POOL,
) -> AsyncRemote:
    """As :func:`hub.connect`; to be awaited, or entered with ``async with``."""
    return AsyncRemote(make_options(address, cert, key, ca, institution, timeout, pool))

"""A hub on another machine: :func:`connect` gives the embedded hub's methods, results and errors over the wire.

The methods are made from the table in ``wire/methods.py``; the work is done in a loop of a thread of its own. For
coroutines see ``aio.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import queue
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

import msgspec

from hub.catalog import Catalog
from hub.errors import RequestError
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
from hub.wire.tlsfiles import Place

CATALOG_S = 300.0
"""For so long a catalog that was fetched is taken to be the one in force."""

PROPERTIES = ("catalog", "verifier_key")


if TYPE_CHECKING:
    from hub.wire.typed import RemoteMethods as _Methods
else:
    # At run time the methods are made from the table, below.
    _Methods = object


class Remote(_Methods):
    """A hub that is served elsewhere. Made by :func:`connect`; a context manager; may be used from several threads.

    Its methods are those of :class:`hub.Hub` that institutions and the portal may call, each with ``timeout=`` in
    seconds. Where a method names no institution, or None, it is the one given to :func:`connect`, or the only one of
    the certificate.
    """

    def __init__(self, options: Options) -> None:
        self._closing, self._ended = threading.Lock(), False
        self._caller = WireCaller(options)
        self._catalog: tuple[float, Catalog] | None = None
        # A fork takes the sockets along and leaves the thread behind; what the child sent would break into the
        # parent's TLS. So it may do nothing with them, not even close.
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        # The thread knows the loop only: a Remote that nobody holds any more can go.
        self._thread = threading.Thread(target=_run_loop, args=(self._loop,), name="hub-wire", daemon=True)
        self._thread.start()
        try:
            self._run(self._caller.start())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_thread", None) is None or self._ended or self._process != os.getpid():
            return
        warnings.warn("hub.connect: a connection was left open", ResourceWarning, stacklevel=2, source=self)
        # Not close(): the collector may run in the loop's own thread, which cannot wait for itself.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_end_loop, self._loop, self._caller)

    def __repr__(self) -> str:
        return f"Remote({'closed' if self._loop.is_closed() else 'open'})"

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
    def catalog(self) -> Catalog:
        """The legal basis in force at the server."""
        now = time.monotonic()
        if self._catalog is None or now - self._catalog[0] > CATALOG_S:
            self._catalog = now, self._call(Wanted("catalog", None, _EMPTY, None, None))
        return self._catalog[1]

    @property
    def verifier_key(self) -> str:
        """The log's public key as a C2SP vkey."""
        found: str = self._call(Wanted("verifier_key", None, _EMPTY, None, None))
        return found

    def close(self) -> None:
        """Close the connections; may be called again."""
        if self._process != os.getpid():
            return
        with self._closing:
            if not self._ended:
                self._ended = True
                self._loop.call_soon_threadsafe(_end_loop, self._loop, self._caller)
        self._thread.join()

    def _begin(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Let the loop's thread do it.

        Raises:
            RequestError: the connection was closed, or made before a fork.
        """
        if self._process != os.getpid():
            work.close()
            raise RequestError("hub: expected a connection of this process, got one from before a fork: connect anew")
        # Under the lock, so that whatever begins is there when the loop ends, and is ended by it.
        with self._closing:
            if not self._ended:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise RequestError("hub: expected an open connection, got a closed one")

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return _wait(self._begin(work))

    def _call(self, wanted: Wanted) -> Any:
        if wanted.progress is None:
            return self._run(self._caller.call(wanted))
        # Told in the caller's thread, as by the embedded hub; an exception from it ends the waiting, not the call.
        told: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        future = self._begin(self._caller.call(wanted._replace(progress=told.put)))
        future.add_done_callback(lambda _: told.put(None))
        try:
            while (rows := told.get()) is not None:
                wanted.progress(rows)
        except BaseException:
            future.cancel()
            raise
        return _wait(future)

    def _history(self, wanted: Wanted, proofs: bool) -> History:
        def prove(indexes: list[int]) -> Any:
            request = msgspec.structs.replace(wanted.request, proofs=indexes)
            return self._call(wanted._replace(request=request))

        page = make_history(self._call(wanted), prove)
        if proofs and len(page):
            page.proof(0)
        return page

    def _copy(self, wanted: Wanted) -> Iterator[Any]:
        """The parts of a copy, of which the first ones are asked for now, the others when somebody wants them."""
        some = self._call(wanted)

        def parts() -> Iterator[Any]:
            found, further = some, wanted
            yield from found.parts
            while found.after is not None:
                further = ask_further(further, found.after)
                found = self._call(further)
                yield from found.parts

        return parts()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    """What a connection's thread does."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        # Calls of other threads that were under way: each ends and tells its caller so.
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()


def _end_loop(loop: asyncio.AbstractEventLoop, caller: WireCaller) -> None:
    """Close the connections, then end the loop; in its thread."""
    ending = loop.create_task(caller.close())
    ending.add_done_callback(lambda _: loop.stop())


def _wait(future: Future[Any]) -> Any:
    try:
        return future.result()
    except CancelledError:
        raise RequestError("hub: expected an open connection, got a closed one") from None
    except BaseException:
        future.cancel()
        raise


_EMPTY = msgspec.defstruct("Empty", [])()


def _method(name: str) -> Callable[..., Any]:
    """A method of the table, with the embedded one's signature and documentation."""
    history = name in PAGES
    signature = signature_of(name, proofs=history)

    @functools.wraps(getattr(Hub, name))
    def call(self: Remote, *args: Any, **kwargs: Any) -> Any:
        if history:
            proofs = bool(kwargs.pop("proofs", False))
            return self._history(bind_call(name, signature, args, kwargs), proofs)
        wanted = bind_call(name, signature, args, kwargs)
        return self._copy(wanted) if name == "copy_of" else self._call(wanted)

    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    call.__signature__ = inspect.Signature([own, *signature.parameters.values()])  # type: ignore[attr-defined]
    return call


for _name in METHODS:
    if _name not in PROPERTIES:
        setattr(Remote, _name, _method(_name))


def connect(
    address: str,
    *,
    cert: Place | None = None,
    key: Place | None = None,
    ca: Place | None = None,
    institution: str | None = None,
    timeout: float | None = None,
    pool: int = POOL,
) -> Remote:
    """Connect to a hub that is served: ``hubs://host:port``.

    Args:
        cert, key: files of the client's certificate and its private key, PEM (key None: in the same file). They are
            read again for a new connection when they have changed.
        ca: file of who issued the server's certificate.
        institution: for which calls are made that name none.
        timeout: seconds for every call that names none; default 60, and 900 for those that carry millions of rows.
        pool: connections at most; calls of several threads share them.

    Returns:
        :class:`Remote`: the methods of :class:`hub.Hub`.

    Raises:
        RequestError: the address or a file is wrong; AccessError: the server does not take the certificate.
        WireError: nobody answers there.
    """
    return Remote(make_options(address, cert, key, ca, institution, timeout, pool))




"""Mails handed over beside each other: some connections to the server, each used by one mail at a time.

A hand-over that has begun goes to its end, with what is to be noted behind it, even where who waits for it is
cancelled: else a mail could be with the server of which the queue does not know.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from hub.portal.outbox import Mail, Outbox

T = TypeVar("T")


class HandOver:
    """The connections of one process; used in one loop."""

    def __init__(self, outboxes: Sequence[Outbox]) -> None:
        """Args: outboxes: at least one; each is called by one thread at a time."""
        self._outboxes = list(outboxes)
        self._free: asyncio.LifoQueue[Outbox] = asyncio.LifoQueue()
        for one in self._outboxes:
            self._free.put_nowait(one)
        # Threads of their own: a slow server must not take those that make PDFs.
        self._threads = ThreadPoolExecutor(len(self._outboxes), "mails")

    def __repr__(self) -> str:
        return f"HandOver(connections={len(self)}, free={self._free.qsize()})"

    def __len__(self) -> int:
        return len(self._outboxes)

    async def send(self, mail: Mail) -> None:
        """Hand over one mail, as soon as a connection is free.

        Raises:
            NotSentError, RefusedError, UnsureError: see ``outbox.py``.
        """
        outbox = await self._free.get()
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, outbox.send, mail)
        finally:
            self._free.put_nowait(outbox)

    async def close(self) -> None:
        """Let go of the connections; mails that are on their way are waited for."""
        for _ in self._outboxes:
            outbox = await self._free.get()
            await asyncio.get_running_loop().run_in_executor(self._threads, outbox.close)
        self._threads.shutdown()


async def to_the_end(doing: Awaitable[T]) -> T:
    """Do something to its end though who waits is cancelled, who then learns it behind it."""
    task = asyncio.ensure_future(doing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await task
        raise


async def each(do: Callable[[T], Awaitable[int]], some: Sequence[T], at_a_time: int) -> int:
    """Do something with each, so many beside each other; what the first that fails raises ends it.

    Those under way meanwhile go to their end before it is raised. Returns the sum.
    """
    left, failed, total = iter(some), list[Exception](), 0

    async def work() -> None:
        nonlocal total
        for one in left:
            try:
                # Not in one: the sum would be read before, and others' be lost.
                more = await do(one)
                total += more
            except Exception as error:
                failed.append(error)
            if failed:
                return

    # With exceptions as results it waits for every one of them, also where it is cancelled itself.
    await asyncio.gather(*(work() for _ in range(at_a_time)), return_exceptions=True)
    if failed:
        raise failed[0]
    return total

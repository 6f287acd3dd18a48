"""A process whose coroutines ask one row at a time, all at once, and that tells of each answer when it has it.

Started as ``python crowd.py FOLDER FIRST CALLERS EACH FD KIND``: caller c asks under the ids ``c-FIRST``,
``c-FIRST+1`` ...; to the descriptor goes one frame an answer: u32 caller, u32 number, u8 status, 3 bytes of zeros.
FIRST 0 with a folder that is not there makes it. KIND is "calls", or "rows": then what is asked in one turn of the loop
comes as columns.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

import hub
from hub.singles.small import SmallAnswers
from inquiries import tax_inquiry
from smallrows import Asked, columns

FRAME = struct.Struct("<IIB3x")
PERSONS = 64
TOWN = "131016"


def inquiry_of(caller: int, number: int) -> hub.Inquiry:
    """What a caller asks under a number."""
    return tax_inquiry(f"{caller}-{number}", section=f"第{caller}係")


class Rows:
    """Gathers what coroutines ask in one turn of their loop."""

    def __init__(self, h: hub.Hub) -> None:
        self._h = h
        self._waiting: list[tuple[Asked, asyncio.Future[int]]] = []

    async def ask(self, inquiry: hub.Inquiry, alias: np.ndarray) -> int:
        """The status of one row; an error of the hub's is raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._submit, loop)
        self._waiting.append(((inquiry, alias, TOWN), future))
        return await future

    def _submit(self, loop: asyncio.AbstractEventLoop) -> None:
        some, self._waiting = self._waiting, []

        def settle(answers: SmallAnswers) -> None:
            for row, (_, future) in enumerate(some):
                if row in answers.errors:
                    future.set_exception(answers.errors[row])
                else:
                    future.set_result(int(answers.status[row]))

        rows = columns(self._h, [one for one, _ in some])
        self._h.inquire_rows(rows, lambda answers: loop.call_soon_threadsafe(settle, answers) and None)


async def ask_all(h: hub.Hub, first: int, callers: int, each: int, fd: int, kind: str) -> None:
    aliases = h.acquire("nenkin", np.arange(PERSONS, dtype=np.int64)).aliases
    gathered = Rows(h)

    async def ask(caller: int) -> None:
        for number in range(first, first + each):
            row = (caller + number) % PERSONS
            if kind == "rows":
                status = await gathered.ask(inquiry_of(caller, number), aliases[row])
            else:
                answer = await h.inquire_async(inquiry_of(caller, number), aliases[row : row + 1], TOWN)
                status = int(answer.status[0])
            os.write(fd, FRAME.pack(caller, number, status))

    await asyncio.gather(*map(ask, range(callers)))


def main() -> None:
    folder, first, callers, each, fd = sys.argv[1], *map(int, sys.argv[2:6])
    kind = sys.argv[6]
    with hub.open(folder, create=True) as h:
        os.write(fd, FRAME.pack(callers, 0, 0))
        asyncio.run(ask_all(h, first, callers, each, fd, kind))


if __name__ == "__main__":
    main()

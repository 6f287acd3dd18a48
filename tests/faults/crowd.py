"""A process whose coroutines ask one row at a time, all at once, and that tells of each answer when it has it.

Started as ``python crowd.py FOLDER FIRST CALLERS EACH FD``: caller c asks under the ids ``c-FIRST``, ``c-FIRST+1`` ...;
to the descriptor goes one frame an answer: u32 caller, u32 number, u8 status, 3 bytes of zeros. FIRST 0 with a folder
that is not there makes it.
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
from inquiries import tax_inquiry

FRAME = struct.Struct("<IIB3x")
PERSONS = 64
TOWN = "131016"


def inquiry_of(caller: int, number: int) -> hub.Inquiry:
    """What a caller asks under a number."""
    return tax_inquiry(f"{caller}-{number}", section=f"第{caller}係")


async def ask_all(h: hub.Hub, first: int, callers: int, each: int, fd: int) -> None:
    aliases = h.acquire("nenkin", np.arange(PERSONS, dtype=np.int64)).aliases

    async def ask(caller: int) -> None:
        for number in range(first, first + each):
            row = (caller + number) % PERSONS
            answer = await h.inquire_async(inquiry_of(caller, number), aliases[row : row + 1], TOWN)
            os.write(fd, FRAME.pack(caller, number, int(answer.status[0])))

    await asyncio.gather(*map(ask, range(callers)))


def main() -> None:
    folder, first, callers, each, fd = sys.argv[1], *map(int, sys.argv[2:6])
    with hub.open(folder, create=True) as h:
        os.write(fd, FRAME.pack(callers, 0, 0))
        asyncio.run(ask_all(h, first, callers, each, fd))


if __name__ == "__main__":
    main()

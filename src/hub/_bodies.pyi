"""Public names of the kernel that finds records. Shapes stand in the docstrings of ``_bodies.pyx``."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hub._pages import Pages
from hub.records.bodies import Chunk

class Body:
    chunk: Chunk
    index: int
    position: int
    person: int
    provider: int
    decision: int
    outcome: int
    kind: int
    link: int | None

def read_rows(
    pages: Pages,
    indexes: list[int],
    find_kept: Callable[[int, int], Chunk | None],
    check_head: Callable[[bytes, memoryview], Chunk],
) -> tuple[list[Chunk], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]: ...
def bodies_of(indexes: list[int], chunks: list[Chunk], rows: npt.NDArray[np.uint8]) -> list[Body]: ...
def counters_of(bodies: list[Body]) -> npt.NDArray[np.uint8]: ...
def rows_of(bodies: list[Body], numbered: bool) -> npt.NDArray[np.uint8]: ...

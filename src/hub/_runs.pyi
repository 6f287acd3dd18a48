"""Public names of the kernels of the history index. Shapes and units stand in the docstrings of ``_runs.pyx``."""

from typing import Any

import numpy as np
import numpy.typing as npt

def find_entries(
    cursor: Any,
    period: int,
    wanted: int,
    below: int,
    since: int,
    until: int,
    spans: list[tuple[int, int]],
) -> list[tuple[int, int, int, int, int, int, int, list[int] | None]]: ...
def find_in_block(
    value: Any, key: bytes, wanted: int, below: int, key_bytes: int, offset_bytes: int, blocks: int
) -> list[int]: ...
def prefetch(values: list[Any]) -> None: ...

class Pairs:
    keys: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.uint32]
    lengths: list[int]
    def __init__(self, room: int) -> None: ...
    def add(
        self,
        values: list[Any],
        head: bytes,
        first_block: int,
        blocks: int,
        key_bytes: int,
        offset_bytes: int,
        span: int,
        shift: int,
        low: int,
        high: int,
        sealed: bool,
    ) -> tuple[int, int]: ...
    def merged(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]: ...

def pack_blocks(
    keys: npt.NDArray[np.uint64],
    offsets: npt.NDArray[np.uint32],
    first_block: int,
    end_block: int,
    blocks: int,
    key_bytes: int,
    offset_bytes: int,
    start: int,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]: ...
def sum_pairs(
    keys: npt.NDArray[np.uint64],
    indexes: npt.NDArray[np.uint64],
    first: int,
    step: int,
    secret: int,
    sums: npt.NDArray[np.uint64],
) -> None: ...

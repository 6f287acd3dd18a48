"""Public names of what builds blocks. Shapes and units stand in the docstrings of ``_blocks.pyx``."""

import numpy as np
import numpy.typing as npt

from hub._core import Directory

MARK: int
REPLACE: int
REMOVE: int
LEAD: int

def rows_by_window(
    aliases: npt.NDArray[np.uint8], persons: npt.NDArray[np.uint32], kind: int, bits: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]: ...

class TableBuild:
    unit_count: int
    partition_bits: int
    window: int
    window_bits: int
    memory: npt.NDArray[np.uint8]
    table: int
    kind: int
    generation: int
    missed: int
    def __init__(
        self,
        directory: Directory,
        kind: int,
        generation: int,
        entries_before: int,
        aliases: npt.NDArray[np.uint8],
        persons: npt.NDArray[np.uint32],
        *,
        window: int = 0,
        window_bits: int = 0,
        rows: npt.NDArray[np.uint32] | None = None,
        memory: npt.NDArray[np.uint8] | None = None,
        edits: npt.NDArray[np.uint16] | None = None,
    ) -> None: ...
    def staging_bytes(self, most: int) -> int: ...
    def build(
        self, unit: int, end: int, staging: npt.NDArray[np.uint8], blocks: npt.NDArray[np.uint64]
    ) -> tuple[int, int]: ...

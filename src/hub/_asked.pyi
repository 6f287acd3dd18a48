"""Public names of the kernel that counts whom a requester asked about whom. Shapes stand in ``_asked.pyx``."""

import numpy as np
import numpy.typing as npt

MOST: int

class Table:
    def __init__(self) -> None: ...
    @property
    def bytes(self) -> int: ...
    @property
    def dense(self) -> bool: ...
    def reserve(self, rows: int, persons: int) -> None: ...
    def count(
        self,
        persons: npt.NDArray[np.uint32],
        providers: npt.NDArray[np.uint32],
        wanted: npt.NDArray[np.uint8],
        others: npt.NDArray[np.uint16] | None,
        most: int,
        unsure: npt.NDArray[np.uint8],
    ) -> int: ...
    def add(
        self, persons: npt.NDArray[np.uint32], wanted: npt.NDArray[np.uint8], changes: npt.NDArray[np.uint16]
    ) -> None: ...
    def put(self, person: int, provider: int, changes: int) -> None: ...
    def get(self, person: int) -> tuple[int, int]: ...

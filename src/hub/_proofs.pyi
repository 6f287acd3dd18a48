"""Public names of the kernel that makes inclusion paths. Shapes stand in the docstrings of ``_proofs.pyx``."""

import numpy as np
import numpy.typing as npt

from hub._pages import Pages

NATIVE: bool

class Paths:
    def __init__(self, pages: Pages, size: int) -> None: ...
    def prove(
        self, indexes: npt.NDArray[np.uint64], leaves: npt.NDArray[np.uint8], root: bytes
    ) -> list[bytes]: ...
    def consistency(self, old: int, root: bytes | None = None) -> tuple[list[bytes], bytes, bytes]: ...

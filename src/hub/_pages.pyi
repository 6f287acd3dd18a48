"""Public names of the page reader. Shapes and units stand in the docstrings of ``_pages.pyx``."""

import numpy as np
import numpy.typing as npt

class Pages:
    def __init__(self, base: int, length: int, transaction: int) -> None: ...
    def blocks(self, name: bytes, first: int, last: int) -> npt.NDArray[np.uint64]: ...

"""Public names of the kernel that sorts permits by provider. Shapes stand in ``_deliver.pyx``."""

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T", bound=Hashable)

def count_permits(
    rows: npt.NDArray[np.uint8], leaving: npt.NDArray[np.uint8], counts: npt.NDArray[np.uint32]
) -> None: ...
def place_permits(
    rows: npt.NDArray[np.uint8],
    leaving: npt.NDArray[np.uint8],
    base: int,
    part: npt.NDArray[np.uint32],
    places: npt.NDArray[np.uint32],
    offsets: npt.NDArray[np.uint32],
    persons: npt.NDArray[np.uint32],
    which: npt.NDArray[np.uint32],
) -> None: ...
def unsupervised(shared: list[bytes]) -> list[bytes | None]: ...
def number_parts(
    which: npt.NDArray[np.uint32], parts: Sequence[T]
) -> tuple[npt.NDArray[np.uint32], list[T]]: ...

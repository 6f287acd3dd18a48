"""Public names of the kernel that sorts permits by provider. Shapes stand in ``_deliver.pyx``."""

import numpy as np
import numpy.typing as npt

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

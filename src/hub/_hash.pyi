"""Public names of the hash kernels. Shapes and units stand in the docstrings of ``_hash.pyx``."""

import numpy as np
import numpy.typing as npt

NATIVE: bool
LANES_MOST: int
LANES_USED: int

def use_lanes(most: int) -> int: ...
def hash_records(
    salts: npt.NDArray[np.uint8],
    disclosure: npt.NDArray[np.uint8],
    stored: npt.NDArray[np.uint8],
    shared_hashes: npt.NDArray[np.uint8],
    times: npt.NDArray[np.int64],
    committed: npt.NDArray[np.uint8] | None = None,
    leaves: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]: ...
def hash_leaves(entries: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]: ...
def hash_pairs(hashes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]: ...
def append_leaves(
    size: int, peaks: list[bytes], leaves: npt.NDArray[np.uint8]
) -> tuple[list[bytes], dict[int, npt.NDArray[np.uint8]]]: ...
def _hash_records(
    salts: npt.NDArray[np.uint8],
    disclosure: npt.NDArray[np.uint8],
    stored: npt.NDArray[np.uint8],
    shared_hashes: npt.NDArray[np.uint8],
    times: npt.NDArray[np.int64],
    rows: npt.NDArray[np.uint8],
    entries: npt.NDArray[np.uint8],
    leaves: npt.NDArray[np.uint8],
) -> None: ...

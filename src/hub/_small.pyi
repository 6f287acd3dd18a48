"""Public names of the kernels for small inquiries. Shapes and units stand in the docstrings of ``_small.pyx``."""

import builtins

import numpy as np
import numpy.typing as npt

class Keys:
    used: int
    def __len__(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    def put(self, keys: npt.NDArray[np.uint8], value: int) -> None: ...
    def get(self, key: builtins.bytes) -> int: ...
    def find(self, keys: npt.NDArray[np.uint8], values: npt.NDArray[np.uint64]) -> int: ...
    def firsts(self, keys: npt.NDArray[np.uint8], first: npt.NDArray[np.uint32]) -> int: ...
    def items(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]: ...

class Filter:
    def __init__(self, keys: int, bits: int = 16) -> None: ...
    @property
    def bytes(self) -> int: ...
    def add(self, keys: npt.NDArray[np.uint8]) -> None: ...

def probe(filters: list[Filter], keys: npt.NDArray[np.uint8]) -> list[tuple[int, int]]: ...
def decide(
    of_institution: list[npt.NDArray[np.uint16]],
    without_consent: list[npt.NDArray[np.uint16]],
    statuses: list[npt.NDArray[np.uint8]],
    rules: list[npt.NDArray[np.uint32]],
    reasons: list[npt.NDArray[np.uint8]],
    which: npt.NDArray[np.uint32],
    providers: npt.NDArray[np.uint32],
    consents: npt.NDArray[np.uint8] | None,
    decision: npt.NDArray[np.uint16],
    status: npt.NDArray[np.uint8],
    rule: npt.NDArray[np.uint32],
    reason: npt.NDArray[np.uint8],
) -> int: ...
def join_fields(
    middles: list[bytes],
    middle_of: npt.NDArray[np.uint32],
    names: npt.NDArray[np.uint8],
    blind: bytes,
    supervised: list[bytes],
    supervised_of: npt.NDArray[np.uint32],
    moments: npt.NDArray[np.int64],
    requested_at: int,
    one: bool,
) -> tuple[bytes, npt.NDArray[np.uint8]]: ...
def seal_entries(
    name: bytes, keys: npt.NDArray[np.uint8], commits: npt.NDArray[np.uint64]
) -> tuple[list[tuple[bytes, bytes]], int]: ...

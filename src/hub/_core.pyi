"""Public names of the look-up. Shapes and units stand in the docstrings of ``_core.pyx``."""

import numpy as np
import numpy.typing as npt

BUILD: str
MAGIC: int
CHECKED_BIT: int
NOBODY: int

class Directory:
    slots_array: npt.NDArray[np.uint64]
    depth: int
    table: int
    blocks: int
    unchecked: int
    def __init__(self, table: int, slots: npt.NDArray[np.uint64], blocks: int, unchecked: int) -> None: ...

class DirectoryMap:
    size: int
    def __init__(self, size: int) -> None: ...
    def set(self, institution: int, directory: Directory) -> None: ...
    def copy(self, size: int) -> DirectoryMap: ...
    def loaded(self) -> dict[int, Directory]: ...

def load_directory(table: int, found: npt.NDArray[np.uint64]) -> Directory: ...
def patch_directory(old: Directory, changed: list[tuple[int, int, int]]) -> Directory: ...
def slot_block(slot: int) -> memoryview: ...
def any_unchecked(directory: Directory) -> bool: ...
def unchecked_blocks(directory: Directory, numbers: npt.NDArray[np.uint32]) -> list[tuple[int, int, int]]: ...
def is_block_of(slot: int, table: int, prefix: int, depth: int) -> bool: ...
def mark_checked(directory: Directory, slot: int, prefix: int, depth: int) -> None: ...
def slots_of(directory: Directory, aliases: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]: ...
def slots_of_persons(directory: Directory, persons: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]: ...
def resolve_batch(
    aliases: npt.NDArray[np.uint8],
    providers: npt.NDArray[np.uint32],
    directory: Directory,
    lookup: DirectoryMap,
    persons: npt.NDArray[np.uint32],
    flags: npt.NDArray[np.uint8],
    out_aliases: npt.NDArray[np.uint8],
    status: npt.NDArray[np.uint8],
    wanted: npt.NDArray[np.uint8] | None = None,
) -> int: ...
def resolve_parts(
    aliases: npt.NDArray[np.uint8],
    providers: npt.NDArray[np.uint32],
    directories: list[Directory],
    starts: npt.NDArray[np.int64],
    lookup: DirectoryMap,
    persons: npt.NDArray[np.uint32],
    flags: npt.NDArray[np.uint8],
    out_aliases: npt.NDArray[np.uint8],
    status: npt.NDArray[np.uint8],
    wanted: npt.NDArray[np.uint8],
) -> int: ...
def find_persons(
    aliases: npt.NDArray[np.uint8],
    directory: Directory,
    persons: npt.NDArray[np.uint32],
    flags: npt.NDArray[np.uint8],
    status: npt.NDArray[np.uint8],
) -> int: ...
def find_aliases(
    persons: npt.NDArray[np.uint32],
    directory: Directory,
    aliases: npt.NDArray[np.uint8],
    status: npt.NDArray[np.uint8],
) -> int: ...
def probe_person(
    person: int,
    numbers: npt.NDArray[np.uint32],
    lookup: DirectoryMap,
    aliases: npt.NDArray[np.uint8],
    status: npt.NDArray[np.uint8],
) -> int: ...
def fetch_limit(
    memory: npt.NDArray[np.uint8], order: npt.NDArray[np.uint64], lines_first: int, lines_second: int
) -> int: ...

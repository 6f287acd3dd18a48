"""``bench/floors.toml``: shares of a limit of the machine, measured beside it, below which no stage may fall.

Kinds of processors differ in how far a stage may come: sixteen messages hashed side by side, or only four, or one. A
floor may name what the processor must have; of a stage's floors the first one that fits counts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import msgspec

from hub.bench.gate.limits import LIMITS
from hub.bench.gate.stages import STAGES
from hub.errors import RequestError


class Floor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One floor: rows a second of a stage over those of the limit, both on one thread.

    Above 1 where a stage may beat what the limit is a measure of: sixteen messages hashed side by side, say.

    Attributes:
        processor: flags of ``/proc/cpuinfo`` without which it does not count.
    """

    stage: str
    limit: str
    share: Annotated[float, msgspec.Meta(gt=0, le=10)]
    processor: tuple[str, ...] = ()


class Floors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    floor: list[Floor]


def processor_flags() -> frozenset[str]:
    """What the kernel says that this processor has; nothing where it does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
            name, _, words = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return frozenset(words.split())
    return frozenset()


def read_floors(path: Path, has: Collection[str] | None = None) -> dict[str, Floor]:
    """The floor of each stage that has one here.

    Args:
        has: flags of the processor; None: of this one.

    Raises:
        RequestError: the file cannot be read, has a key that it should not have, or names something unknown.
    """
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=Floors)
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise RequestError(f"{path}: {error}") from None
    flags = processor_flags() if has is None else has
    floors: dict[str, Floor] = {}
    last: set[str] = set()
    for floor in found.floor:
        for what, name, known in (("stage", floor.stage, list(STAGES)), ("limit", floor.limit, list(LIMITS))):
            if name not in known:
                raise RequestError(f"{path}: {what}: expected one of {', '.join(known)}, got {name!r}")
        if floor.stage in last:
            raise RequestError(f"{path}: stage: expected one floor each, got another behind that of {floor.stage}")
        if not floor.processor:
            last.add(floor.stage)
        if floor.stage not in floors and set(floor.processor) <= set(flags):
            floors[floor.stage] = floor
    return floors

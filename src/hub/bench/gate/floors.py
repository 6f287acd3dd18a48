"""``bench/floors.toml``: shares of a limit of the machine, measured beside it, below which no stage may fall."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from hub.bench.gate.worker import LIMITS, STAGES
from hub.errors import RequestError


class Floor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One floor: rows a second of a stage over those of the limit, both on one thread.

    Above 1 where a stage may beat what the limit is a measure of: sixteen messages hashed side by side, say.
    """

    stage: str
    limit: str
    share: Annotated[float, msgspec.Meta(gt=0, le=10)]


class Floors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    floor: list[Floor]


def read_floors(path: Path) -> dict[str, Floor]:
    """The floor of each stage that has one.

    Raises:
        RequestError: the file cannot be read, has a key that it should not have, or names something unknown.
    """
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=Floors)
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise RequestError(f"{path}: {error}") from None
    floors: dict[str, Floor] = {}
    for floor in found.floor:
        for what, name, known in (("stage", floor.stage, list(STAGES)), ("limit", floor.limit, list(LIMITS))):
            if name not in known:
                raise RequestError(f"{path}: {what}: expected one of {', '.join(known)}, got {name!r}")
        if floor.stage in floors:
            raise RequestError(f"{path}: stage: expected one floor each, got two of {floor.stage}")
        floors[floor.stage] = floor
    return floors

"""Municipalities for the bench: those of the catalog, and invented ones up to the real number of them."""

from __future__ import annotations

from hub.catalog import Catalog
from hub.catalog.institutions import Institution, check_digit

TOWNS = 1_741
"""Municipalities of Japan that answer inquiries, special wards included."""


def with_towns(catalog: Catalog, count: int = TOWNS) -> Catalog:
    """The catalog with at least ``count`` municipalities; invented ones say so in their names."""
    lacking = count - len(towns_of(catalog))
    if lacking <= 0:
        return catalog
    return catalog.import_institutions(invented_csv(lacking, set(catalog.codes)))


def towns_of(catalog: Catalog) -> list[Institution]:
    """All municipalities of a catalog, by number."""
    return [body for body in catalog.institutions() if body.kind == "city"]


def invented_csv(count: int, taken: set[str]) -> str:
    """A list of municipalities in the shape of the ministry's, with codes that nobody bears and right check digits."""
    lines = ["code,kind,prefecture,name"]
    # Real codes use 100 to 799 behind the prefecture; 47 prefectures times 200 leave room for 9,400 invented ones.
    for number in range(800, 1_000):
        for prefecture in range(1, 48):
            digits = f"{prefecture:02d}{number}"
            code = digits + check_digit(digits)
            if code not in taken and len(lines) <= count:
                lines.append(f"{code},city,架空県,架空県第{len(lines)}町")
    return "\n".join(lines) + "\n"

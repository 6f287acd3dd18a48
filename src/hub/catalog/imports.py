"""Files that change a catalog: which table a file is, and what taking it in does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import msgspec

from hub.catalog.classes import read_classes, read_members
from hub.catalog.csvfile import CsvFile, Source
from hub.catalog.institutions import Imported, read_institutions
from hub.catalog.namespaces import read_namespaces
from hub.catalog.ordinance import read_limits
from hub.catalog.standing import Assessment, read_assessments, read_delegations, read_narrowings
from hub.catalog.tables import Tables, import_rules, merge_lines
from hub.catalog.terms import read_terms
from hub.errors import CatalogError

_READERS: dict[str, Callable[[Source], list[Any]]] = {
    "classes": read_classes,
    "members": read_members,
    "narrowings": read_narrowings,
    "delegations": read_delegations,
    "assessments": read_assessments,
    "terms": read_terms,
    "limits": read_limits,
    "namespaces": read_namespaces,
}
_TELLING = {
    "institutions": {"code", "name"},
    "rules": {"basis", "roles"},
    "classes": {"label", "members"},
    "members": {"list", "institution"},
    "narrowings": {"procedure", "members"},
    "delegations": {"delegate", "principal"},
    "assessments": {"institution", "published_on"},
    "terms": {"procedure", "permit_days"},
    "limits": {"institution", "kind"},
    "namespaces": {"namespace", "issuer"},
}
"""The columns by which a file is known; no two tables share a pair."""


def import_table(tables: Tables, source: Source, table: str | None) -> tuple[Tables, Imported]:
    """Take in a file; without a table's name it is known by its columns.

    Raises:
        CatalogError: the file is broken, or no table has such columns.
    """
    table = find_table(source) if table is None else table
    if table == "institutions":
        return import_institutions(tables, source, assessed=True, assessed_on=None)
    if table == "rules":
        return import_rules(tables, source)
    if table not in _READERS:
        raise CatalogError(f"table: expected one of {', '.join(_TELLING)}, got {table!r}")
    return merge_lines(tables, table, _READERS[table](source))


def find_table(source: Source) -> str:
    """Which table a file is, by its columns.

    Raises:
        CatalogError: none has such columns.
    """
    file = CsvFile(source)
    for table, telling in _TELLING.items():
        if telling <= set(file.columns):
            return table
    raise CatalogError(f"{file.name}: expected the columns of {', '.join(_TELLING)}, got others")


def import_institutions(
    tables: Tables, source: Source, *, assessed: bool, assessed_on: dt.date | None
) -> tuple[Tables, Imported]:
    """Add or update institutions, and note from when on they count as assessed.

    The shipped line for ``*`` covers every body that has no line of its own, so a line is written only for bodies
    that are not (or not always) assessed.

    Raises:
        CatalogError: the file is broken.
    """
    institutions, done, named = read_institutions(source, tables.institutions)
    changed = msgspec.structs.replace(tables, institutions=institutions)
    if not assessed or assessed_on is not None:
        day = assessed_on if assessed else None
        changed, _ = merge_lines(changed, "assessments", [Assessment(code, "*", "both", day) for code in named])
    return changed, done

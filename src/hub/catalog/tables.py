"""The tables of a catalog, how the shipped files become them, how imported files change them, and how they are stored.

A stored catalog (``pack_tables``) is, in this order:

====== ======= =====================================================================
offset bytes   content
====== ======= =====================================================================
0      16      ``hub/catalog/1``, then NUL bytes
16     32      SHA-256 of the payload: the catalog's digest
48     8       length of the payload, big-endian
56     rest    the payload, deflated (zlib, RFC 1950)
====== ======= =====================================================================

The payload is MessagePack: an array with the fields of :class:`Tables` in their order, each table an array of
lines, each line an array of the fields of its struct in their order; days are text (``2026-06-26``), an open day
is nil. Tables from ``terms`` on were added later: those that are empty are left out at the end of the array, so that
a catalog which has none of them keeps its digest. Equal tables have equal payloads.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import struct
import zlib
from importlib.resources import files

import msgspec

from hub.catalog.classes import ClassLine, Member, Placement, read_classes, read_members
from hub.catalog.csvfile import CsvFile, Source, expect
from hub.catalog.institutions import Imported, Institution, read_institutions
from hub.catalog.law import BASES, OWN_RULES_FROM, Row, Rule, check_place, procedure_id, split_list
from hub.catalog.moments import read_period
from hub.catalog.namespaces import Namespace
from hub.catalog.ordinance import Copy, Limit, find_excess
from hub.catalog.standing import (
    Assessment,
    Delegation,
    Narrowing,
    read_assessments,
    read_delegations,
    read_narrowings,
)
from hub.catalog.terms import Term
from hub.errors import CatalogError
from hub.limits import CATALOG_BYTES_MAX

ORIGIN = (
    "行政手続における特定の個人を識別するための番号の利用等に関する法律第十九条第八号に基づく利用特定個人情報の提供に関する命令"
    "(令和6年デジタル庁・総務省令第9号、2026年6月26日施行の版、e-Gov法令検索)"
)
IN_FORCE = dt.date(2026, 6, 26)
"""The shipped lines are the Order as revised on this day; of earlier wording the files know nothing."""

RULE_COLUMNS = ("basis", "row", "article", "requester", "procedure", "provider", "kind", "detail", "roles")
RULE_COLUMNS_OPTIONAL = ("number", "sub", "law", "affair", "valid_from", "valid_to", "copies")

_MAGIC = b"hub/catalog/1".ljust(16, b"\0")
_HEAD = struct.Struct(">16s32sQ")
_FIELDS_MIN = 9
"""Fields up to ``assessments``, which are always written."""


class Tables(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Everything that a catalog is made from. Rules and institutions stand in the order of their numbers."""

    origin: str
    rows: tuple[Row, ...]
    rules: tuple[Rule, ...]
    institutions: tuple[Institution, ...]
    classes: tuple[ClassLine, ...]
    members: tuple[Member, ...]
    narrowings: tuple[Narrowing, ...]
    delegations: tuple[Delegation, ...]
    assessments: tuple[Assessment, ...]
    terms: tuple[Term, ...] = ()
    copies: tuple[Copy, ...] = ()
    limits: tuple[Limit, ...] = ()
    namespaces: tuple[Namespace, ...] = ()


def pack_tables(tables: Tables) -> bytes:
    """The payload; its SHA-256 is the catalog's digest."""
    fields = [getattr(tables, name) for name in Tables.__struct_fields__]
    fields[Tables.__struct_fields__.index("terms")] = [term.packed() for term in tables.terms]
    while len(fields) > _FIELDS_MIN and not fields[-1]:
        fields.pop()
    return msgspec.msgpack.encode(fields)


def store_payload(payload: bytes) -> bytes:
    """The stored form of a payload."""
    return _HEAD.pack(_MAGIC, hashlib.sha256(payload).digest(), len(payload)) + zlib.compress(payload, 6)


def load_tables(stored: bytes) -> Tables:
    """Read the stored form.

    Raises:
        CatalogError: it is no catalog, of another format, cut, or not what its digest says.
    """
    if len(stored) < _HEAD.size:
        raise CatalogError(f"stored catalog: expected at least {_HEAD.size} bytes, got {len(stored)}")
    magic, digest, length = _HEAD.unpack_from(stored)
    if magic != _MAGIC:
        raise CatalogError("stored catalog: expected the format hub/catalog/1, got another")
    if length > CATALOG_BYTES_MAX:
        raise CatalogError(f"stored catalog: expected at most {CATALOG_BYTES_MAX} bytes, got {length}")
    try:
        inflating = zlib.decompressobj()
        payload = inflating.decompress(stored[_HEAD.size :], length + 1)
    except zlib.error as error:
        raise CatalogError(f"stored catalog: {error}") from error
    whole = inflating.eof and not inflating.unused_data and len(payload) == length
    if not whole or hashlib.sha256(payload).digest() != digest:
        raise CatalogError("stored catalog: expected the bytes that its SHA-256 names, got others")
    try:
        return msgspec.msgpack.decode(payload, type=Tables)
    except msgspec.MsgspecError as error:
        raise CatalogError(f"stored catalog: {error}") from error


def read_japan() -> Tables:
    """The shipped legal basis, bodies and tables.

    Raises:
        CatalogError: a shipped file is broken.
    """
    folder = files("hub.catalog") / "japan"

    def content(name: str) -> bytes:
        return (folder / name).read_bytes()

    rows = _read_rows(content("rows.csv"))
    institutions, _, _ = read_institutions(content("institutions.csv"), ())
    return Tables(
        origin=ORIGIN,
        rows=rows,
        rules=_read_order(content("procedures.csv"), rows),
        institutions=institutions,
        classes=tuple(read_classes(content("classes.csv"))),
        members=tuple(read_members(content("members.csv"))),
        narrowings=tuple(read_narrowings(content("narrowings.csv"))),
        delegations=tuple(read_delegations(content("delegations.csv"))),
        assessments=tuple(read_assessments(content("assessments.csv"))),
    )


def import_rules(tables: Tables, source: Source) -> tuple[Tables, Imported]:
    """Add rules of one's own, or set the last day of rules that are there.

    A line that agrees with a rule in everything but its name, its last day and what it copies sets those two; the rule
    keeps its number. Any other line is a new rule.

    Raises:
        CatalogError: the file is broken, or an ordinance's rule exceeds what it copies.
    """
    parse = _RuleParser(tables)
    lines = CsvFile(source).parse(parse, RULE_COLUMNS, RULE_COLUMNS_OPTIONAL)
    copies = {line.rule: line.procedure for line in tables.copies}
    rules = {rule.key: rule for rule in tables.rules}
    rows = {row.id: row for row in tables.rows}
    number = max(OWN_RULES_FROM - 1, *(rule.rule for rule in tables.rules)) if tables.rules else OWN_RULES_FROM - 1
    done = {"added": 0, "updated": 0, "unchanged": 0}
    for rule, law, affair, copied in lines:
        old = rules.get(rule.key)
        if old is None:
            number += 1
            done["added"] += 1
            rules[rule.key] = msgspec.structs.replace(rule, rule=number)
        elif old.valid_to != rule.valid_to or copies.get(old.rule, "") != copied:
            done["updated"] += 1
            rules[rule.key] = msgspec.structs.replace(old, valid_to=rule.valid_to)
        else:
            done["unchanged"] += 1
        if copied:
            copies[rules[rule.key].rule] = copied
        row = rows.get(rule.row_id)
        pair = (rule.provider, rule.kind)
        if row is None:
            rows[rule.row_id] = Row(rule.basis, rule.row, rule.article, rule.requester, law, affair, False, (pair,))
        elif pair not in row.pairs:
            rows[rule.row_id] = msgspec.structs.replace(row, pairs=(*row.pairs, pair))
    changed = msgspec.structs.replace(
        tables,
        rules=tuple(rules.values()),
        rows=tuple(rows.values()),
        copies=tuple(Copy(number, copies[number]) for number in sorted(copies)),
    )
    return changed, Imported(table="rules", **done)


def merge_lines(tables: Tables, name: str, lines: list[msgspec.Struct]) -> tuple[Tables, Imported]:
    """Add lines to one of the small tables; a line with the key of an old one replaces it, in its place."""
    merged = {_KEYS[name](line): line for line in getattr(tables, name)}
    done = {"added": 0, "updated": 0, "unchanged": 0}
    for line in lines:
        key = _KEYS[name](line)
        done["added" if key not in merged else "unchanged" if merged[key] == line else "updated"] += 1
        merged[key] = line
    if name == "members":
        merged = {key: line for key, line in merged.items() if line.member}
    changed = msgspec.structs.replace(tables, **{name: tuple(merged.values())})
    return changed, Imported(table=name, **done)


_KEYS = {
    "classes": lambda line: line.label,
    "members": lambda line: (line.list, line.institution),
    "narrowings": lambda line: line.procedure,
    "delegations": lambda line: (line.delegate, line.principal, line.law, line.article, line.side, line.valid_from),
    "assessments": lambda line: (line.institution, line.row, line.side),
    "terms": lambda line: line.procedure,
    "limits": lambda line: (line.institution, line.kind, line.valid_from),
    "namespaces": lambda line: line.namespace,
}


def _read_rows(source: Source) -> tuple[Row, ...]:
    """rows.csv: one line is a row with a provider class and a kind; lines of a row agree in all but the last two."""
    columns = ("row", "article", "requester", "law", "affair", "quasi_statutory", "provider", "kind")
    heads: dict[str, tuple[str, ...]] = {}
    pairs: dict[str, list[tuple[str, str]]] = {}

    def parse(line: dict[str, str]) -> None:
        check_place(line["row"], line["article"], "")
        head = tuple(line[name] for name in columns[1:6])
        if heads.setdefault(line["row"], head) != head:
            raise ValueError(f"row {line['row']}: expected the same article, requester, law and affair as before")
        expect("quasi_statutory", line["quasi_statutory"], ("0", "1"))
        pairs.setdefault(line["row"], []).append((line["provider"], line["kind"]))

    CsvFile(source).parse(parse, columns)
    return tuple(
        Row("19-8", row, article, requester, law, affair, quasi == "1", tuple(pairs[row]))
        for row, (article, requester, law, affair, quasi) in heads.items()
    )


def _read_order(source: Source, rows: tuple[Row, ...]) -> tuple[Rule, ...]:
    """procedures.csv: a rule for each line and each provider class that the row names for the line's kind."""
    columns = ("row", "article", "number", "sub", "procedure", "kind", "detail", "roles")
    by_row = {row.row: row for row in rows}
    rules: list[Rule] = []

    def parse(line: dict[str, str]) -> None:
        row = by_row.get(line["row"])
        if row is None or row.article != line["article"]:
            raise ValueError(f"row: expected a row of rows.csv with its article, got {line['row']}/{line['article']}")
        check_place(line["row"], line["article"], line["number"])
        providers = [provider for provider, kind in row.pairs if kind == line["kind"]]
        if not providers:
            raise ValueError(f"kind: expected one that row {row.row} names, got {line['kind']}")
        if not line["detail"] or not line["procedure"]:
            raise ValueError("procedure, detail: expected both, got nothing")
        roles = split_list(line["roles"], "roles")
        for provider in providers:
            rules.append(
                Rule(
                    rule=len(rules) + 1, basis="19-8", row=row.row, article=row.article, number=line["number"],
                    sub=line["sub"], label=line["procedure"], requester=row.requester, provider=provider,
                    procedure=procedure_id("19-8", row.row, row.article, line["number"]), kind=line["kind"],
                    detail=line["detail"], roles=roles, valid_from=IN_FORCE, valid_to=None,
                )
            )  # fmt: skip

    CsvFile(source).parse(parse, columns)
    return tuple(rules)


class _RuleParser:
    """Reads the lines of a file of rules; an ordinance's may copy what stands in the catalog or above them."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._placement: Placement | None = None
        self._by_procedure: dict[str, dict[object, Rule]] = {}
        for rule in tables.rules:
            self._by_procedure.setdefault(rule.procedure, {})[rule.key] = rule

    def __call__(self, line: dict[str, str]) -> tuple[Rule, str, str, str]:
        rule, copies = _parse_rule(line), line["copies"]
        copied = list(self._by_procedure.get(copies, {}).values())
        excess = find_excess(rule, copied, copies, self._members_of)
        if excess is not None:
            raise ValueError(excess)
        self._by_procedure.setdefault(rule.procedure, {})[rule.key] = rule
        return rule, line["law"], line["affair"], copies

    def _members_of(self, label: str) -> frozenset[int]:
        if self._placement is None:
            tables = self._tables
            self._placement = Placement(tables.institutions, tables.classes, tables.members)
        return self._placement.members.get(label, frozenset())


def _parse_rule(line: dict[str, str]) -> Rule:
    basis = expect("basis", line["basis"], BASES)
    row, article, number = line["row"], line["article"], line["number"]
    check_place(row, article, number)
    for name in ("requester", "procedure", "provider", "kind"):
        if not line[name]:
            raise ValueError(f"{name}: expected a value, got nothing")
    valid_from, valid_to = read_period(line)
    return Rule(
        rule=0, basis=basis, row=row, article=article, number=number, sub=line["sub"],
        procedure=procedure_id(basis, row, article, number), label=line["procedure"],
        requester=line["requester"], provider=line["provider"], kind=line["kind"],
        detail=line["detail"] or line["kind"], roles=split_list(line["roles"], "roles"),
        valid_from=valid_from, valid_to=valid_to,
    )  # fmt: skip

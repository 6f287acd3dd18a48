"""The catalog: who may ask whom for what, since when."""

from __future__ import annotations

import copy
import datetime as dt
import functools
import hashlib
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from hub.catalog import imports
from hub.catalog.check import Problem, find_problems
from hub.catalog.classes import Placement, number_of_label
from hub.catalog.compile import Compiler
from hub.catalog.csvfile import Source
from hub.catalog.decide import Decision, DecisionTable
from hub.catalog.explain import describe_procedure, describe_rule, explain_decision
from hub.catalog.institutions import Imported, Institution
from hub.catalog.law import Procedure, Row, Rule
from hub.catalog.moments import seconds_of
from hub.catalog.namespaces import Namespaces
from hub.catalog.ordinance import Limits
from hub.catalog.search import SearchIndex
from hub.catalog.standing import Assessments
from hub.catalog.tables import Tables, load_tables, pack_tables, read_japan, store_payload
from hub.catalog.terms import Terms
from hub.catalog.views import boundaries_of, institutions_with_classes, labels_of, procedures_of, words_of
from hub.catalog.words import quote, unknown_word
from hub.errors import CatalogError, RequestError
from hub.messages import Inquiry, Reason, Status

Moment = dt.datetime | dt.date | float
"""A datetime (without a zone: Japan's), a date (its beginning in Japan), or seconds since 1970."""


class Catalog:
    """Institutions, classes, procedures and rules. Immutable: every import makes a new one.

    Attributes:
        origin: where the legal basis was taken from.
        tables: what it is made from.
        rows, rules: every row and rule, in order.
        class_labels: every class string that a row or rule uses, in the order of classes.csv.
        placement: which institutions each class holds.
        copies: of each rule of an ordinance, by its number, the id of the procedure that it copies.
        namespaces: of identifiers that name people from outside, with their issuers and who may rely on them.
        imported: what the import that made this catalog did; None otherwise, and after loading.

    A catalog may be used by several threads: what is computed late is computed the same by each.
    """

    def __init__(self, tables: Tables, *, imported: Imported | None = None) -> None:
        self.tables = tables
        self.imported = imported
        self.origin = tables.origin
        self.rows: tuple[Row, ...] = tables.rows
        self.rules: tuple[Rule, ...] = tables.rules
        self.placement = Placement(tables.institutions, tables.classes, tables.members)
        self.class_labels = labels_of(tables)
        self._institutions = institutions_with_classes(tables.institutions, self.placement, self.class_labels)
        self._by_code = {body.code: body for body in self._institutions}
        self._by_rule = {rule.rule: rule for rule in self.rules}
        self._procedures = procedures_of(tables)
        self._rules_of = {id: tuple(self._by_rule[rule] for rule in p.rules) for id, p in self._procedures.items()}
        self._narrowings = {line.procedure: line for line in tables.narrowings}
        self.item_words, self.role_words = words_of(tables.rules)
        self.assessments = Assessments(tables.assessments, tables.institutions)
        self.terms = Terms(tables.terms)
        self.limits = Limits(tables.limits, tables.institutions)
        self.copies = {line.rule: line.procedure for line in tables.copies}
        self.namespaces = Namespaces(tables.namespaces)
        self._boundaries = boundaries_of(tables)
        self._compiler = Compiler(self, self._boundaries)
        self._provider_numbers = functools.lru_cache(None)(self._list_members)
        self._clock: Callable[[], float] = time.time

    def __repr__(self) -> str:
        return f"Catalog({', '.join(f'{name}={count}' for name, count in self.counts.items())})"

    @staticmethod
    @functools.cache
    def japan() -> Catalog:
        """The shipped catalog: the Order as revised on 2026-06-26, with the bodies that it names.

        Raises:
            CatalogError: a shipped file is broken.
        """
        return Catalog(read_japan())

    def by_clock(self, clock: Callable[[], float]) -> Catalog:
        """The same catalog with another clock for ``decide``: a hub's catalog goes by the hub's own."""
        bound = copy.copy(self)
        bound._clock = clock
        return bound

    # Reading

    @property
    def counts(self) -> dict[str, int]:
        """Rows, pairs, procedures, lines, rules, institutions; a line with two provider classes is two rules."""
        lines = {(rule.procedure, rule.sub, rule.kind, rule.detail, rule.roles) for rule in self.rules}
        return {
            "rows": len(self.rows),
            "pairs": sum(len(row.pairs) for row in self.rows),
            "procedures": len(self._procedures),
            "lines": len(lines),
            "rules": len(self.rules),
            "institutions": len(self._institutions),
        }

    @property
    def codes(self) -> Collection[str]:
        """The codes of all institutions."""
        return self._by_code.keys()

    @property
    def procedure_ids(self) -> Collection[str]:
        return self._procedures.keys()

    @property
    def numbers_end(self) -> int:
        """One more than the highest institution number."""
        return len(self._institutions) + 1

    def institution(self, code: str) -> Institution:
        """The institution with a code.

        Raises:
            RequestError: there is none.
        """
        body = self._by_code.get(code) if isinstance(code, str) else None
        if body is None:
            raise RequestError(f"institution: expected the code of a connected body, got {quote(code)}")
        return body

    def name_of(self, code: str) -> str:
        """What an institution is called; empty where this catalog does not know it."""
        body = self._by_code.get(code)
        return body.name if body else ""

    def institution_by_number(self, number: int) -> Institution:
        """The institution with a number.

        Raises:
            RequestError: there is none.
        """
        if not 1 <= number < self.numbers_end:
            raise RequestError(f"institution number: expected 1 to {self.numbers_end - 1}, got {number}")
        return self._institutions[number - 1]

    def code_by_number(self, number: int) -> str:
        """The code of the institution with a number; empty for 0, in a record of a class nobody of which was asked.

        Raises:
            RequestError: there is none.
        """
        return self.institution_by_number(number).code if number else ""

    def institutions(self, class_label: str | None = None) -> list[Institution]:
        """The institutions of a class, by number; without one all of them.

        Raises:
            RequestError: no row or rule uses such a class.
        """
        if class_label is None:
            return list(self._institutions)
        if class_label not in self.class_labels:
            raise RequestError(unknown_word("class", class_label, self.class_labels))
        return [self._institutions[number - 1] for number in sorted(self.members_of(class_label))]

    def class_number(self, class_label: str) -> int:
        """The number of a class, 31 bits of a hash of its label: the same in every catalog that has it.

        Raises:
            RequestError: no row or rule uses such a class.
        """
        if not isinstance(class_label, str) or class_label not in self.class_labels:
            raise RequestError(unknown_word("class", class_label, self.class_labels))
        return number_of_label(class_label)

    def class_of_number(self, number: int) -> str:
        """The label of the class with a number.

        Raises:
            RequestError: no class has it.
        """
        label = self._class_numbers.get(number)
        if label is None:
            raise RequestError("class number: expected one of a class, got another")
        return label

    def procedure(self, procedure_id: str) -> Procedure:
        """The procedure with an id.

        Raises:
            RequestError: there is none.
        """
        procedure = self._procedures.get(procedure_id) if isinstance(procedure_id, str) else None
        if procedure is None:
            raise RequestError(unknown_word("procedure", procedure_id, self._procedures))
        return procedure

    def procedures(
        self, requester: str | None = None, words: str | Sequence[str] | None = None, item: str | None = None
    ) -> list[Procedure]:
        """The procedures that fit everything given, best first where words are given, else in the order of the law.

        Args:
            requester: an institution's code: those that it may use, itself or by a delegation of any date.
            words: each must stand in the procedure's name, law, affair, classes, items or roles.
            item: a kind or detail that they list.

        Raises:
            RequestError: the requester or the item is not known.
        """
        found = self._procedures
        if item is not None:
            if item not in self.item_words:
                raise RequestError(unknown_word("item", item, self.item_words))
            found = {id: proc for id, proc in found.items() if item in proc.items or item in proc.kinds}
        if requester is not None:
            number = self.institution(requester).number
            found = {id: proc for id, proc in found.items() if self._may_use(number, proc)}
        return list(found.values()) if words is None else self._search.find(words, found)

    def rule(self, number: int) -> Rule:
        """The rule with a number.

        Raises:
            RequestError: there is none.
        """
        rule = self._by_rule.get(number) if isinstance(number, int) else None
        if rule is None:
            raise RequestError(f"rule: expected the number of a rule, got {quote(str(number))}")
        return rule

    def uses_of(self, class_label: str) -> str:
        """Where a class string stands, for people: ``requester of row 19-8/36``."""
        rows = [f"requester of row {row.id}" for row in self.rows if row.requester == class_label]
        rows += [f"provider in row {row.id}" for row in self.rows if any(class_label == p for p, _ in row.pairs)]
        return ", ".join(rows[:3]) + (f" and {len(rows) - 3} more" if len(rows) > 3 else "") or "own rules"

    def rules_of(self, procedure_id: str) -> tuple[Rule, ...]:
        """The rules of a procedure, by number.

        Raises:
            RequestError: there is no such procedure.
        """
        return self._rules_of.get(procedure_id) or tuple(map(self.rule, self.procedure(procedure_id).rules))

    def describe(self, rule_or_procedure: int | str) -> str:
        """A rule (by its number) or a procedure (by its id) in lines for a terminal.

        Raises:
            RequestError: there is none.
        """
        if isinstance(rule_or_procedure, str):
            return describe_procedure(self, self.procedure(rule_or_procedure))
        return describe_rule(self, self.rule(rule_or_procedure))

    def problems(self) -> list[Problem]:
        """What ``hub catalog check`` prints; ``grave`` ones are contradictions, the others known gaps."""
        return find_problems(self)

    # Deciding

    def decide(
        self, inquiry: Inquiry, provider: str, at: Moment | None = None, *, consent: bool = False
    ) -> Decision:
        """Whether a provider may be asked: the decision that a bulk inquiry would get, with its reasons.

        Args:
            inquiry: its reference date never matters.
            provider: institution code.
            at: when the hub receives it; without it, now by the hub's clock. A moment in the past replays a decision
                by this catalog.
            consent: whether the person consented, as local tax for an ordinance's affair needs it.

        Raises:
            RequestError: a word of the inquiry is not known, or it is not well formed.
        """
        table = self.table(inquiry, self._clock() if at is None else at)
        asked = self.institution(provider)
        entry = table.of_institution.item(asked.number)
        entry = entry if consent else table.without_consent.item(entry)
        status, reason = Status(table.status.item(entry)), Reason(table.reason.item(entry))
        rule = self.rule(table.rule.item(entry))
        requester = self.institution(inquiry.requester)
        return Decision(
            allowed=status is Status.OK,
            status=status,
            rule=rule.rule,
            reason=reason,
            nearest=None if status is Status.OK else rule,
            items=table.items,
            rules=table.rules[entry],
            role=table.role,
            on_behalf_of=table.on_behalf_of,
            legal_basis=table.legal_basis[entry],
            explanation=explain_decision(self, rule, reason, table.misfits[entry], requester, asked, table.role),
        )

    def table(self, inquiry: Inquiry, at: Moment) -> DecisionTable:
        """The compiled decisions of an inquiry at a moment, from a cache of bounded size.

        Raises:
            RequestError: a word of the inquiry is not known, or it is not well formed.
        """
        items = inquiry.items
        if not isinstance(items, tuple):
            if not isinstance(items, list):
                raise RequestError(f"items: expected a list or tuple of names, got {type(items).__name__}")
            items = tuple(items)
        epoch = bisect_right(self._boundaries, seconds_of(at))
        try:
            return self._compiler.table(inquiry.requester, inquiry.procedure, items, inquiry.role, epoch)
        except TypeError:
            words = (inquiry.requester, inquiry.procedure, inquiry.role or "", *items)
            if all(isinstance(word, str) for word in words):
                raise
            raise RequestError("inquiry: expected text for requester, procedure, items and role") from None

    def members_of(self, class_label: str) -> frozenset[int]:
        """The institution numbers of a class; nobody for a class that classes.csv does not place."""
        return self.placement.members.get(class_label, frozenset())

    def acting_as(
        self, number: int, row_id: str, side: str, at: float | None
    ) -> Iterator[tuple[frozenset[int], str | None]]:
        """As which bodies an institution may act in a row: as itself, then as the bodies that it acts for by law.

        Yields:
            institution numbers, and the principal's class (None for itself).
        """
        yield frozenset((number,)), None
        code = self._institutions[number - 1].code
        for line in self.tables.delegations:
            if line.delegate == code and line.covers(row_id, side, at) and self.members_of(line.principal):
                yield self.members_of(line.principal), line.principal

    def providers_of(self, class_label: str, row_id: str, at: float) -> npt.NDArray[np.intp]:
        """Numbers of the institutions that provide as a class in a row: its members, and who acts for them all."""
        numbers = self._provider_numbers(class_label)
        members = self.members_of(class_label)
        delegates = [
            self._by_code[line.delegate].number
            for line in self.tables.delegations
            if line.delegate in self._by_code and line.covers(row_id, "provider", at)
            if self.members_of(line.principal) and self.members_of(line.principal) <= members
        ]
        return np.append(numbers, delegates).astype(np.intp) if delegates else numbers

    def narrowed_to(self, procedure_id: str) -> frozenset[int] | None:
        """The institutions to which a procedure is narrowed; None where its row's requester stands."""
        line = self._narrowings.get(procedure_id)
        return None if line is None else self.placement.unite(line.parts)

    def narrowing_reason(self, procedure_id: str) -> str:
        """Why a procedure is narrowed, for people; empty where it is not."""
        line = self._narrowings.get(procedure_id)
        return "" if line is None else line.reason

    def _list_members(self, class_label: str) -> npt.NDArray[np.intp]:
        return np.array(sorted(self.members_of(class_label)), dtype=np.intp)

    def _may_use(self, number: int, procedure: Procedure) -> bool:
        narrowing = self.narrowed_to(procedure.id)
        return any(
            bodies <= self.members_of(requester) and (narrowing is None or bodies <= narrowing)
            for bodies, _ in self.acting_as(number, procedure.row_id, "requester", None)
            for requester in procedure.requesters
        )

    @functools.cached_property
    def _class_numbers(self) -> dict[int, str]:
        numbers = {number_of_label(label): label for label in self.class_labels}
        if len(numbers) != len(self.class_labels):
            raise CatalogError("classes: expected labels with numbers of their own, got two with the same")
        return numbers

    @functools.cached_property
    def _search(self) -> SearchIndex:
        return SearchIndex(self._procedures.values())

    # Changing and storing

    def import_institutions(
        self, source: Source, *, assessed: bool = True, assessed_on: dt.date | None = None
    ) -> Catalog:
        """This catalog with the bodies of a list added or brought up to date; numbers stay.

        Args:
            source: a path or the content: code, kind, prefecture, name and, if wished, kana.
            assessed: whether the bodies count as having published their assessments.
            assessed_on: the day from which they do; None is always.

        Returns:
            a new catalog; its ``imported`` counts what was done.

        Raises:
            CatalogError: the file is broken; lines are named.
        """
        tables, done = imports.import_institutions(self.tables, source, assessed=assessed, assessed_on=assessed_on)
        return Catalog(tables, imported=done)

    def import_table(self, source: Source, table: str | None = None) -> Catalog:
        """This catalog with the lines of any of its tables added, or replaced where their key is there.

        Args:
            source: a path or the content.
            table: its name (docs/catalog.md has them all); None goes by the file's columns.

        Raises:
            CatalogError: the file is broken or its columns are no table's; lines are named.
        """
        tables, done = imports.import_table(self.tables, source, table)
        return Catalog(tables, imported=done)

    def import_rules(self, source: Source) -> Catalog:
        """This catalog with rules of one's own added, or the last days of rules set.

        Raises:
            CatalogError: the file is broken; lines are named.
        """
        return self.import_table(source, "rules")

    @functools.cached_property
    def _payload(self) -> bytes:
        return pack_tables(self.tables)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the catalog's content, 64 hex digits: equal catalogs have the same."""
        return hashlib.sha256(self._payload).hexdigest()

    @functools.cached_property
    def _stored(self) -> bytes:
        return store_payload(self._payload)

    def dump(self) -> bytes:
        """The catalog for storing; see :mod:`hub.catalog.tables` for the format."""
        return self._stored

    @staticmethod
    def load(stored: bytes) -> Catalog:
        """The catalog that was dumped; it decides as the dumped one did.

        Raises:
            CatalogError: the bytes are no catalog or were changed.
        """
        return Catalog(load_tables(stored))

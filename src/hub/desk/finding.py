"""Find what a clerk means: a procedure by words, a body by its name or code, a rule that allows the question."""

from __future__ import annotations

from hub.catalog import Catalog
from hub.catalog.institutions import Institution
from hub.catalog.law import Procedure
from hub.catalog.words import fold
from hub.messages import OWN_DATA
from hub.portal.wordlists import words

BODIES_SHOWN = 20


def find_procedures(catalog: Catalog, institution: str, text: str) -> list[Procedure]:
    """Procedures by which an institution may ask, that hold every word: of the law, or of the rows' sentences.

    The catalog's own order first, then those whose row says it in English or in plain Japanese.
    """
    wanted = fold(text).split()
    if not wanted:
        return []
    found = [one for one in catalog.procedures(requester=institution, words=text) if not one.id.startswith(OWN_DATA)]
    known = {one.id for one in found}
    rows = words("rows")
    said = {row: fold(f"{word.ja} {word.en} {word.easy}") for row, word in rows.items()}
    fitting = {row for row, sentence in said.items() if all(one in sentence for one in wanted)}
    if fitting:
        found += [
            one for one in catalog.procedures(requester=institution)
            if one.basis == "19-8" and one.row in fitting and one.id not in known
        ]  # fmt: skip
    return found


def find_bodies(catalog: Catalog, procedure: Procedure, text: str, but: str) -> list[Institution]:
    """Bodies that a procedure's rules name, by code, whole name or a part of it; the one that is meant alone."""
    classes = set(procedure.providers)
    able = [one for one in catalog.institutions() if not classes.isdisjoint(one.classes) and one.code != but]
    wanted = fold(text).strip()
    for exact in ([one for one in able if one.code == text.strip()], [one for one in able if fold(one.name) == wanted]):
        if len(exact) == 1:
            return exact
    return [one for one in able if wanted and wanted in fold(one.name)]

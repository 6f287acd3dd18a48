"""Find procedures by words, by requester, by item: clerks do not know which of a thousand procedures they need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hub.catalog.law import Procedure
from hub.catalog.words import fold


class SearchIndex:
    """The folded words of every procedure, in two parts: what it is, and what it may ask for."""

    def __init__(self, procedures: Iterable[Procedure]) -> None:
        self._lines = [(procedure, _fold_subject(procedure), _fold_rest(procedure)) for procedure in procedures]

    def find(self, words: str | Sequence[str], among: Mapping[str, object] | None = None) -> list[Procedure]:
        """Procedures that hold every word, the best first.

        Args:
            words: separated by spaces, or a sequence; a word may stand anywhere, also inside another.
            among: ids to choose from; None is all.

        Returns:
            first those whose own name, law, affair or id holds every word, then those where a word is only found
            in the requester, the providers, the kinds and details or the roles; each in the order of the law.
        """
        wanted = fold(words).split() if isinstance(words, str) else [fold(word) for word in words]
        ranked: tuple[list[Procedure], list[Procedure]] = ([], [])
        for procedure, subject, rest in self._lines:
            if among is not None and procedure.id not in among:
                continue
            if all(word in subject for word in wanted):
                ranked[0].append(procedure)
            elif all(word in subject or word in rest for word in wanted):
                ranked[1].append(procedure)
        return ranked[0] + ranked[1]


def _fold_subject(procedure: Procedure) -> str:
    return fold("\n".join((procedure.label, procedure.law, procedure.affair, procedure.id)))


def _fold_rest(procedure: Procedure) -> str:
    words = (*procedure.requesters, *procedure.providers, *procedure.kinds, *procedure.items, *procedure.roles)
    return fold("\n".join(words))

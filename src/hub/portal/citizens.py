"""What the portal knows of who is signed in, beside the alias: the day on which they turn fifteen.

A child under fifteen has a parent as a proxy by law (法定代理人), granted with the child's own card until that day.
The birth date itself is dropped with the ID token.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple

OF_AGE = 15


class Citizen(NamedTuple):
    """Who is signed in.

    Attributes:
        fifteen: the day on which they turn fifteen, or did; None: the sign-in does not say.
    """

    fifteen: dt.date | None

    def __repr__(self) -> str:
        return "Citizen()"

    def is_child(self, today: dt.date) -> bool:
        """Whether they are known to be under fifteen."""
        return self.fifteen is not None and today < self.fifteen

    def is_grown(self, today: dt.date) -> bool:
        """Whether they are known to be fifteen."""
        return self.fifteen is not None and self.fifteen <= today


def citizen_of(claims: dict[str, Any], birth_claim: str | None) -> Citizen:
    """Who an ID token is of; a birth date in another form than YYYY-MM-DD (OpenID Connect Core 5.1) says nothing."""
    said = None if birth_claim is None else claims.get(birth_claim)
    try:
        # "0000-04-02" and "1990" leave out what the person did not want to say.
        born = dt.date.fromisoformat(said) if isinstance(said, str) and len(said) == len("YYYY-MM-DD") else None
    except ValueError:
        born = None
    return Citizen(None if born is None else fifteenth(born))


def fifteenth(born: dt.date) -> dt.date | None:
    """The first day on which somebody is fifteen.

    An age is reached as the day before the birthday ends (年齢計算ニ関スル法律, 民法143条): who was born on 29 February
    reaches it as 28 February ends, since fifteen years after a leap year there is no 29th.
    """
    try:
        return born.replace(year=born.year + OF_AGE)
    except ValueError:
        return dt.date(born.year + OF_AGE, 3, 1) if born.year + OF_AGE <= dt.MAXYEAR else None

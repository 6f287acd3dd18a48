"""A second reader of the catalog's CSV files, slow and plain, that shares no code with the hub.

It answers one question at a time by filtering lists of dicts, so that the hub's compiled tables have something to
agree with.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from pathlib import Path

JAPAN = Path(__file__).parents[2] / "src" / "hub" / "catalog" / "japan"
IN_FORCE = "2026-06-26"


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def read_shipped(name: str) -> list[dict[str, str]]:
    return read((JAPAN / f"{name}.csv").read_text(encoding="utf-8"))


class Question(Exception):
    """The question itself is not well formed: the hub must raise RequestError."""


class Oracle:
    """The law as lists of dicts; ``own_rules`` and the others are read after the shipped ones."""

    def __init__(self, own_rules: str = "", assessments: str = "", delegations: str = "", limits: str = "") -> None:
        self.limits = read(limits)
        self.bodies = {line["code"]: line for line in read_shipped("institutions")}
        self.classes = {line["label"]: line["members"].split(";") for line in read_shipped("classes")}
        self.lists: dict[str, set[str]] = {}
        for line in read_shipped("members"):
            self.lists.setdefault(line["list"], set()).add(line["institution"])
        self.narrowings = {line["procedure"]: line["members"].split(";") for line in read_shipped("narrowings")}
        self.delegations = read_shipped("delegations") + read(delegations)
        self.assessments = {
            (line["institution"], line["row"], line["side"]): line["published_on"]
            for line in read_shipped("assessments") + read(assessments)
        }
        self.rules: list[dict[str, str]] = []
        table = read_shipped("rows")
        for line in read_shipped("procedures"):
            for row in table:
                if row["row"] == line["row"] and row["kind"] == line["kind"]:
                    rule = {**line, "basis": "19-8", "requester": row["requester"], "provider": row["provider"]}
                    self.rules.append({**rule, "number_": str(len(self.rules) + 1), "from": IN_FORCE, "to": ""})
        for index, line in enumerate(read(own_rules)):
            number = str(1_000_001 + index)
            self.rules.append({**line, "number_": number, "from": line["valid_from"], "to": line["valid_to"]})
        self.by_procedure: dict[str, list[dict[str, str]]] = {}
        for rule in self.rules:
            self.by_procedure.setdefault(self.procedure(rule), []).append(rule)
        self.words = {rule["kind"] for rule in self.rules} | {rule["detail"] for rule in self.rules}
        self.roles = {role for rule in self.rules for role in rule["roles"].split(";")}

    @staticmethod
    def procedure(rule: dict[str, str]) -> str:
        number = f".{rule['number']}" if rule["number"] else ""
        return f"{rule['basis']}/{rule['row']}/{rule['article']}{number}"

    def is_of(self, code: str, part: str) -> bool:
        body = self.bodies[code]
        form, _, value = part.partition(":")
        if form == "class":
            return any(self.is_of(code, inner) for inner in self.classes[value])
        if form == "form":
            ending = {"市": "市", "特別区": "区", "町": "町", "村": "村"}[value]
            return body["kind"] == "city" and body["name"].endswith(ending)
        return {"code": code, "kind": body["kind"]}.get(form) == value or (
            form == "list" and code in self.lists.get(value, ())
        )

    def may_act(self, code: str, label: str, rule: dict[str, str], side: str, day: str) -> str | None:
        """The class as whose body it acts: empty for itself, None if it may not."""
        if self.is_of(code, f"class:{label}"):
            return ""
        for line in self.delegations:
            if line["delegate"] != code or line["side"] not in (side, "both") or rule["basis"] != "19-8":
                continue
            if rule["row"] not in line["rows"].split(";") or not (line["valid_from"] <= day):
                continue
            if line["valid_to"] and day > line["valid_to"]:
                continue
            principals = [c for c in self.bodies if self.is_of(c, f"class:{line['principal']}")]
            if principals and all(self.is_of(c, f"class:{label}") for c in principals):
                return line["principal"]
        return None

    def assessed(self, code: str, rule: dict[str, str], side: str, day: str) -> bool:
        own = [line for line in self.assessments if line[0] == code]
        rows = ("*", rule["row"] if rule["basis"] == "19-8" else f"{rule['basis']}/{rule['row']}")
        lines = own or [line for line in self.assessments if line[0] == "*"]
        days = [self.assessments[line] for line in lines if line[1] in rows and line[2] in (side, "both")]
        return any(published and published <= day for published in days)

    def keeps_back(self, code: str, rule: dict[str, str], day: str) -> bool:
        return rule["basis"] == "19-9" and any(
            line["institution"] == code
            and line["kind"] in ("*", rule["kind"])
            and line["valid_from"] <= day
            and (not line["valid_to"] or day <= line["valid_to"])
            for line in self.limits
        )

    def ask(
        self,
        requester: str,
        procedure: str,
        items: list[str],
        role: str | None,
        provider: str,
        at: float,
        consent: bool = False,
    ) -> dict[str, object]:
        """The decision: reason ("" if allowed), rule, each item's rule, what a record stores, on whose behalf."""
        if requester not in self.bodies or provider not in self.bodies or procedure not in self.by_procedure:
            raise Question
        if not 1 <= len(items) <= 64 or len(set(items)) != len(items) or not set(items) <= self.words:
            raise Question
        if role is not None and role not in self.roles:
            raise Question
        day = dt.datetime.fromtimestamp(at, dt.timezone(dt.timedelta(hours=9))).date().isoformat()
        rules = self.by_procedure[procedure]

        def open_to(rule: dict[str, str]) -> bool:
            return self.may_act(requester, rule["requester"], rule, "requester", day) is not None

        def narrowed(rule: dict[str, str]) -> bool:
            parts = self.narrowings.get(procedure)
            if parts is None:
                return open_to(rule)
            acting_for = self.may_act(requester, rule["requester"], rule, "requester", day)
            bodies = [c for c in self.bodies if acting_for and self.is_of(c, f"class:{acting_for}")] or [requester]
            return open_to(rule) and all(any(self.is_of(c, part) for part in parts) for c in bodies)

        def in_force(rule: dict[str, str]) -> bool:
            return rule["from"] <= day and (not rule["to"] or day <= rule["to"])

        def best(some: list[dict[str, str]]) -> list[dict[str, str]]:
            for_it = [rule for rule in some if narrowed(rule)]
            return [rule for rule in for_it if in_force(rule)] or for_it or some

        named = {item: [rule for rule in rules if item in (rule["kind"], rule["detail"])] for item in items}
        if role is None:
            listed = [rule for item in items for rule in best(named[item])]
            roles = {one for rule in listed or rules for one in rule["roles"].split(";")}
            if len(roles) > 1 and listed:
                raise Question
            role = roles.pop() if len(roles) == 1 else ""
        details: list[tuple[str, list[dict[str, str]], bool]] = []
        for item in items:
            for_role = [rule for rule in named[item] if role in rule["roles"].split(";")]
            if not for_role:
                details.append((item, named[item] or rules, bool(named[item])))
            for detail in dict.fromkeys(rule["detail"] for rule in best(for_role)):
                details.append((detail, [rule for rule in named[item] if rule["detail"] == detail], True))

        def provides(rule: dict[str, str]) -> bool:
            return self.may_act(provider, rule["provider"], rule, "provider", day) is not None

        steps = [
            ("REQUESTER", open_to),
            ("NARROWED", narrowed),
            ("ITEM", None),
            ("ROLE", lambda rule: role in rule["roles"].split(";")),
            ("PROVIDER", provides),
            ("DATES", in_force),
            ("LIMITED", lambda rule: not self.keeps_back(provider, rule, day)),
            ("REQUESTER_ASSESSMENT", lambda rule: self.assessed(requester, rule, "requester", day)),
            ("PROVIDER_ASSESSMENT", lambda rule: self.assessed(provider, rule, "provider", day)),
        ]
        found: list[tuple[int, dict[str, str]]] = []
        for _, candidates, is_listed in details:
            left, step = candidates, 0
            while step < len(steps):
                passing = [rule for rule in left if (is_listed if steps[step][1] is None else steps[step][1](rule))]
                if not passing:
                    break
                left, step = passing, step + 1
            # Of the rules that came this far, the one that fits in most steps, then the lowest number.
            fits = [sum(bool(is_listed if fitting is None else fitting(rule)) for _, fitting in steps) for rule in left]
            most = [rule for rule, count in zip(left, fits, strict=True) if count == max(fits)]
            found.append((step, min(most, key=lambda rule: int(rule["number_"]))))
        step, near = min(found, key=lambda one: one[0])
        secret = [rule for _, rule in found if rule["basis"] == "19-9" and rule["kind"] == "地方税"]
        if step == len(steps) and secret and not consent and requester != provider:
            steps.append(("CONSENT", None))
            near = secret[0]
        reason = steps[step][0] if step < len(steps) else ""
        if reason == "DATES":
            reason = "NOT_YET" if near["from"] > day else "EXPIRED"
        acting = [self.may_act(requester, rule["requester"], rule, "requester", day) for rule in rules]
        behalf = "" if "" in acting else next((principal for principal in acting if principal), "")
        return {
            "reason": "SAME_INSTITUTION" if requester == provider else reason,
            "rule": int(near["number_"]),
            "rules": tuple(int(rule["number_"]) for _, rule in found),
            "items": tuple(dict.fromkeys(detail for detail, _, _ in details)),
            "role": role,
            "on_behalf_of": behalf or None,
        }

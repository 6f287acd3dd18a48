"""The draft of a report to the Personal Information Protection Commission about a wrong link (番号法29条の4).

What a report states and by when is in the Commission's rule of 2015, number 5 (平成27年特定個人情報保護委員会規則第5号,
特定個人情報の漏えい等に関する報告等に関する規則): Art. 2 (what is reported: of the linkage system in any number, 1号イ)
and Art. 3 (nine items; quickly, and within 30 days, of a deliberate act 60). The Commission's guidelines read "quickly"
as about three to five days; the day on which it was known is counted here as the first.

It is filled with counts and the names of bodies, never with an alias or a person, and says what a human must add.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import NamedTuple

from hub.catalog import Catalog
from hub.catalog.moments import JAPAN
from hub.mislinks.blast import BlastRadius, Dealing

LEGAL_BASIS = "番号法29条の4第1項・第2項"
PRELIMINARY_DAYS = 3, 5
FINAL_DAYS, FINAL_DAYS_DELIBERATE = 30, 60
LINES_MAX = 200
"""Lines of bodies in a draft; what is behind them is one line with its count."""

_FILL = "【要記入 / to be filled in】"


class Deadlines(NamedTuple):
    """Days in Japan: the preliminary report (速報) between two, the final one (確報) until another.

    A last day on which the Commission is closed moves to the next one by law; it is not moved here: earlier is safe.
    """

    preliminary_from: dt.date
    preliminary_until: dt.date
    final: dt.date


class Notified(NamedTuple):
    """How many citizens are told through the portal, and how many must be told by other means."""

    portal: int
    otherwise: int


def find_deadlines(known: dt.date, *, deliberate: bool) -> Deadlines:
    """By when it is to be reported what was known on a day in Japan, which is the first of the days that count."""
    early, late = (known + dt.timedelta(days=days - 1) for days in PRELIMINARY_DAYS)
    final = FINAL_DAYS_DELIBERATE if deliberate else FINAL_DAYS
    return Deadlines(early, late, known + dt.timedelta(days=final - 1))


def given_of_right(blast: BlastRadius) -> bool:
    """Whether data that the institution holds, of the right citizen, were given in the other one's place."""
    return any(one.side == "provider" and one.given for one in blast.dealings)


def given_of_wrong(blast: BlastRadius) -> bool:
    """Whether the institution received data of the citizen whom the alias meant, in the right one's place."""
    return any(one.side == "requester" and one.given for one in blast.dealings)


def write_draft(
    catalog: Catalog,
    blast: BlastRadius,
    *,
    known: dt.date,
    deliberate: bool,
    reason: str,
    right_known: bool,
    notified: Notified,
) -> str:
    """The draft, Markdown in Japanese with a gloss in English.

    Args:
        known: day in Japan on which the institution learned of it. reason: as it was given, the cause so far.
        right_known: whether it is known whom the link should have meant.
    """
    due = find_deadlines(known, deliberate=deliberate)
    body = catalog.institution(blast.institution)
    words = {
        "fill": _FILL,
        "body": f"{body.name} ({body.code})",
        "deliberate": "、2号" if deliberate else "",
        "days": FINAL_DAYS_DELIBERATE if deliberate else FINAL_DAYS,
        "known": known,
        "early": due.preliminary_from,
        "late": due.preliminary_until,
        "final": due.final,
        "since": _spell(blast.since),
        "until": _spell(blast.until),
        "records": blast.records,
        "received": len(blast.received),
        "provided": sum(one.given for one in blast.received),
        "receivers": len(blast.receivers),
        "items": "\n".join(f"- {item}" for item in blast.items) or "- 記録上なし / none according to the records",
        "given": given_of_right(blast) + given_of_wrong(blast),
        "persons": "2人" if right_known else f"1人以上 (正しい本人は未特定 / the right person is unknown) {_FILL}",
        "reason": reason,
        "waiting": sum(one.payload == "waiting" for one in blast.received),
        "open": len(blast.open),
        "portal": notified.portal,
        "otherwise": notified.otherwise,
        "updates": len(blast.updates),
        "bodies": "\n".join(_write_bodies(catalog, blast.received)),
    }
    return _TEMPLATE.format(**words)


_TEMPLATE = """\
# 特定個人情報の漏えい等に関する報告書 (案) / Report of a breach (DRAFT)

> **案**: 情報提供等記録から自動で作成した下書きです。
> 提出前に担当者が内容を確認し、【要記入】を補ってください。
>
> **DRAFT**, made from the records of the hub. A human must check it and add what is marked before it is sent.

- 宛先 / To: 個人情報保護委員会 / the Personal Information Protection Commission
- 報告者 / From: {body}
- 担当部署、連絡先 / section in charge, contact: {fill}
- 根拠 / Basis: 番号法29条の4第1項、報告等に関する規則2条1号イ{deliberate}
- 該当の有無の確認 / whether it applies: {fill}
- 知った日 / Known on: {known}
- 速報 (概ね3日から5日以内) / Preliminary report: {early} - {late}
- 確報 ({days}日以内) / Final report, by: {final}
- 期限は知った日を1日目とし、閉庁日による繰下げを見込まない /
  the first day is that on which it was known; not moved where the Commission is closed

## 1 概要 / Summary
- 機関別符号の紐付けの誤り / an alias was linked to the wrong person
- 期間 / interval: {since} - {until}
- 関係する情報提供等記録 / records concerned: {records}件
- 回答された照会 / questions that were answered: {received}件
- うち情報が提供されたもの / of these data were given: {provided}件
- 回答を受け取った機関 / bodies that received an answer: {receivers}
- 発生日時、発見の経緯 / when it happened, how it was found: {fill}

## 2 特定個人情報の項目 / Items
{items}

## 3 本人の数 / Persons
- 情報が別人のものとして提供されたおそれがある本人 / whose data may have been given in another's place: {given}人
- 紐付けの誤りに関係する本人 / persons concerned: {persons}

## 4 原因 / Cause
- {reason}
- 詳細 / details: {fill}

## 5 二次被害又はそのおそれ / Secondary harm
- 有無及び内容 / whether, and what: {fill}
- 未取得の回答 / answers that were not fetched yet: {waiting}件
- 未回答の照会 (拒否すべきもの) / open questions, to be refused: {open}件

## 6 本人への対応の実施状況 / What was done for the persons
- ポータルで通知した者 / notified through the portal: {portal}人
- 他の方法で通知すべき者 / to be notified by other means: {otherwise}人
- 通知の日、方法 / when and how: {fill}

## 7 公表の実施状況 / Publication
- {fill}

## 8 再発防止のための措置 / Measures against recurrence
- 提供先への訂正の通知 / answers whose receivers must be told what is right: {updates}件
- その他の措置 / other measures: {fill}

## 9 その他参考となる事項 / Other
{bodies}
"""


def _write_bodies(catalog: Catalog, received: list[Dealing]) -> list[str]:
    """Who received what, and how often: a table."""
    if not received:
        return ["- なし / none"]
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for one in received:
        counts[one.receiver, one.procedure, "、".join(one.items), one.outcome.name] += 1
    lines = [
        "| 受領機関 / received by | 事務手続 / procedure | 項目 / items | 結果 / outcome | 件数 / count |",
        "|---|---|---|---|---|",
    ]
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    for (receiver, procedure, items, outcome), count in ordered[:LINES_MAX]:
        name = catalog.institution(receiver).name
        lines.append(f"| {name} ({receiver}) | {procedure} | {items} | {outcome} | {count} |")
    if len(ordered) > LINES_MAX:
        rest = sum(count for _, count in ordered[LINES_MAX:])
        lines.append(f"| 他 / others | | | | {rest} |")
    return lines


def _spell(moment: dt.datetime | None) -> str:
    return "不明 / not stated" if moment is None else moment.astimezone(JAPAN).strftime("%Y-%m-%d %H:%M")

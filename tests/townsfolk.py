"""People who do not exist, by the thousand: households with children and twins, in the order of a file."""

from __future__ import annotations

import datetime as dt
import random

from hub.mislinks.attributes import Attributes

SURNAMES = {
    "甲斐": "カイ", "黒木": "クロキ", "日高": "ヒダカ", "長友": "ナガトモ", "河野": "カワノ", "佐藤": "サトウ",
    "髙橋": "タカハシ", "渡邊": "ワタナベ", "山﨑": "ヤマサキ", "濵田": "ハマダ", "児玉": "コダマ", "岩切": "イワキリ",
}  # fmt: skip
GIVEN = {
    "男": {"太郎": "タロウ", "健一": "ケンイチ", "大翔": "ヒロト", "蓮": "レン", "悠真": "ユウマ", "誠": "マコト"},
    "女": {"花子": "ハナコ", "美咲": "ミサキ", "陽菜": "ヒナ", "結衣": "ユイ", "葵": "アオイ", "さくら": "サクラ"},
}
TOWNS = ("霧島", "大工", "清武町加納", "高岡町内山", "佐土原町下田島", "田野町甲", "橘通東")


def make_people(n: int, seed: int = 2023) -> list[Attributes]:
    """n people, households together: parents, children, and in one household of twelve twins."""
    rng = random.Random(seed)
    people: list[Attributes] = []
    house = 0
    while len(people) < n:
        house += 1
        surname = rng.choice(list(SURNAMES))
        chome, block = rng.randint(1, 5), rng.randint(1, 40)
        address = f"宮崎県宮崎市{rng.choice(TOWNS)}{chome}丁目{block}番地{house}"
        day = dt.date(1950, 1, 1) + dt.timedelta(rng.randrange(14_000))
        births = [(day, "男"), (day + dt.timedelta(rng.randrange(1, 2_000)), "女")][: rng.randint(1, 2)]
        for _ in range(rng.randint(0, 3)):
            births.append((day + dt.timedelta(rng.randrange(8_000, 12_000)), rng.choice("男女")))
        if rng.randrange(12) == 0:
            births.append((births[-1][0], rng.choice("男女")))
        given: set[str] = set()
        for born, sex in births:
            # No two of a household have one name.
            name = rng.choice([one for one in GIVEN[sex] if one not in given])
            given.add(name)
            people.append(
                Attributes(
                    name=f"{surname}　{name}",
                    kana=f"{SURNAMES[surname]} {GIVEN[sex][name]}",
                    address=address,
                    sex=sex,
                    birth=born.isoformat(),
                )
            )
    return people[:n]


def spelled_otherwise(one: Attributes) -> Attributes:
    """The same person as another office writes it down."""
    name = one.name.replace("髙", "高").replace("﨑", "崎").replace("邊", "辺").replace("濵", "浜").replace("　", " ")
    address = one.address.removeprefix("宮崎県").replace("丁目", "\uff0d").replace("番地", "\uff0d")
    year, month, day = one.birth.split("-")  # type: ignore[union-attr]
    sex = {"男": "1", "女": "2"}[one.sex]
    return Attributes(name=name, kana=None, address=address, sex=sex, birth=f"{year}/{int(month)}/{int(day)}")

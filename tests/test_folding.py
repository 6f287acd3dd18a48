"""What is one spelling of another, and what is another name, address or day."""

from __future__ import annotations

import pytest

from hub.mislinks.folding import fold_address, fold_birth, fold_kana, fold_name, fold_sex, same_address
from hub.mislinks.variants import NAMES, OLD, VARIANTS


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("髙橋　太郎", "高橋太郎"),
        ("山﨑 花子", "山崎花子"),
        ("宮嵜 花子", "宮崎花子"),
        ("德川 家康", "徳川家康"),
        ("齋藤 一", "斉藤 一"),
        ("齊藤 一", "斎藤 一"),
        ("渡邊 健", "渡辺健"),
        ("渡邉 健", "渡邊 健"),
        ("濵田 葵", "浜田葵"),
        ("濱田 葵", "濵田 葵"),
        ("櫻井 さくら", "桜井さくら"),
        ("𠮷田 誠", "吉田誠"),
        ("佐々木 蓮", "佐佐木蓮"),
        ("神田 誠", "神田誠"),
        ("国廣 惠", "國広恵"),
        ("\uff33\uff2d\uff29\uff34\uff28\u3000\uff2a\uff2f\uff28\uff2e", "John Smith"),
        ("GARCIA, JOSE", "José García"),
        ("ジョン・スミス", "スミス・ジョン"),
        ("ｼﾞｮﾝ･ｽﾐｽ", "ジョン・スミス"),
    ],
)  # fmt: skip
def test_spellings_of_one_name_are_folded_alike(one: str, other: str) -> None:
    assert fold_name(one) == fold_name(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("大田 誠", "太田 誠"),
        ("土田 誠", "士田 誠"),
        ("大坂 誠", "大阪 誠"),
        ("菊池 誠", "菊地 誠"),
        ("伊藤 誠", "伊東 誠"),
        ("川野 誠", "河野 誠"),
        ("畠山 誠", "畑山 誠"),
        ("広田 誠", "弘田 誠"),
        ("山田 未来", "山田 末来"),
        ("千田 誠", "干田 誠"),
        ("山田 一", "山田 二"),
        ("John Smith", "John Smyth"),
    ],
)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert fold_name(one) != fold_name(other)


def test_no_character_stands_twice_in_the_table_of_variants() -> None:
    words = [set(word) for word in (NAMES + OLD).split()]
    for word in words:
        for other in words:
            assert word is other or not word & other or word == other, (word, other)
    assert all(chr(one) != plain for one, plain in VARIANTS.items())
    # A plain form is nobody's variant: folding once is enough.
    assert not {ord(plain) for plain in VARIANTS.values()} & set(VARIANTS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("たかはし　たろう", "ﾀｶﾊｼ ﾀﾛｳ"),
        ("オオノ", "オーノ"),
        ("オウノ", "オオノ"),
        ("ケイコ", "ケーコ"),
        ("シヨウタ", "ショウタ"),
        ("ヴァレリー", "バレリー"),
        ("ミヅホ", "ミズホ"),
        ("イッサ", "イツサ"),
    ],
)
def test_spellings_of_one_reading_are_folded_alike(one: str, other: str) -> None:
    assert fold_kana(one) == fold_kana(other)


@pytest.mark.parametrize(
    ("one", "other"), [("オノ", "オオノ"), ("ユキ", "ユウキ"), ("カワノ", "コウノ"), ("ハナ", "バナ")]
)
def test_different_readings_stay_different(one: str, other: str) -> None:
    assert fold_kana(one) != fold_kana(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("東京都千代田区霞が関一丁目2番3号", "千代田区霞ヶ関\uff11\uff0d\uff12\uff0d\uff13"),
        ("東京都千代田区霞ケ関1丁目2番地の3", "東京都千代田区霞が関1\u20102\u20113"),
        ("千代田区霞が関1-2-3 コーポ霞101号室", "千代田区霞が関一丁目二番三号"),
        ("千代田区霞が関1-2-3-101", "千代田区霞が関1-2-3 第2コーポ101"),
        ("青森県青森市大字浪岡字稲村101番地1", "青森市浪岡稲村101-1"),
        ("札幌市中央区北二十四条西3丁目1番2号", "北海道札幌市中央区北24条西3-1-2"),
        ("東京都西多摩郡瑞穂町大字箱根ケ崎2335番地", "瑞穂町箱根ヶ崎2335"),
        ("千代田区三番町1-2", "千代田区3番町1番地2"),
        ("福島県郡山市朝日一丁目23-7", "郡山市朝日1丁目23番7号"),
        ("九戸郡洋野町種市第23地割27番地", "洋野町種市第\uff12\uff13地割\uff12\uff17"),
        ("横浜市澁谷町1-1", "横濱市渋谷町1番1号"),
    ],
)
def test_spellings_of_one_address_are_the_same(one: str, other: str) -> None:
    assert same_address(fold_address(one), fold_address(other))
    assert same_address(fold_address(other), fold_address(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("千代田区霞が関1-2-3", "千代田区霞が関1-2-4"),
        ("千代田区霞が関1-2", "千代田区霞が関1-2-4"),
        ("千代田区霞が関1-2-3", "千代田区霞が関12-3"),
        ("千代田区霞が関1-2-3 コーポ101", "千代田区霞が関1-2-3 コーポ102"),
        ("東京都府中市本町1-1-1", "広島県府中市本町1-1-1"),
        ("港区三田2-15-45", "港区芝2-15-45"),
        ("札幌市中央区北1条西3-1-2", "札幌市中央区北2条西3-1-2"),
        ("宮崎市霧島2-1", "宮崎市霧島21"),
    ],
)
def test_different_addresses_stay_different(one: str, other: str) -> None:
    assert not same_address(fold_address(one), fold_address(other))


@pytest.mark.parametrize("text", ["1975-01-02", "19750102", "1975/1/2", "昭和50年1月2日", "S50.1.2", "1975年1月2日"])
def test_a_day_is_one_however_it_is_written(text: str) -> None:
    assert fold_birth(text) == "1975-01-02"


def test_eras_begin_where_they_begin() -> None:
    assert fold_birth("平成元年1月8日") == fold_birth("H1.1.8") == "1989-01-08"
    assert fold_birth("令和元年5月1日") == "2019-05-01"
    assert fold_birth("大正15年12月24日") == "1926-12-24"
    assert fold_birth("明治45.7.29") == "1912-07-29"


def test_what_is_no_day_or_sex_stays_what_it_is() -> None:
    assert fold_birth("不詳") == "不詳"
    assert fold_sex("不明") == "不明"
    assert [fold_sex(one) for one in ("男", "男性", "M", "1", "\uff11")] == ["M"] * 5
    assert [fold_sex(one) for one in ("女", "女性", "f", "2")] == ["F"] * 4

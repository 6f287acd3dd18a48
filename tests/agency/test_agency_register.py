"""Loads of the copy register: chunk by chunk, each whole or not at all, visible as a whole."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from agency_desk import HEADER, ITEM, LAYOUT, csv_of, line, load, own_id, register_of

import hub.agency
from hub.agency import Agency, read_layout, register
from hub.agency.encode import make_payloads
from hub.agency.ownids import decode_own_ids, raw_keys
from hub.agency.register import read_register
from hub.agency.runs import mix_keys
from hub.errors import RequestError, StorageError
from hub.files.columns import cells_of_texts


@pytest.fixture
def agency(tmp_path: Path):
    with hub.agency.open(tmp_path / "agency", institution="131016", create=True) as made:
        made.declare(LAYOUT)
        yield made


def rows_of(agency: Agency, ids: list[str], items: list[int]) -> list[dict | None]:
    """What the register has of own ids."""
    with agency._store.read() as reader:
        found_register = read_register(reader, "tax")
    assert found_register is not None
    generation = found_register.generation
    if generation is None:
        return [None] * len(ids)
    found, parts = agency._registers.find(generation, *mix_keys(raw_keys(decode_own_ids(ids))[0]))
    payloads = iter(make_payloads(agency._registers.file(generation), parts, items))
    return [msgspec.msgpack.decode(next(payloads)) if one else None for one in found.tolist()]


def test_a_load_is_visible_as_a_whole(agency: Agency) -> None:
    state = agency.begin_load("tax", "l1")
    assert (state.chunks, state.complete) == (0, False)
    agency.load_chunk("tax", "l1", 1, register_of(range(5)))
    assert rows_of(agency, [own_id(1)], [0, 1]) == [None]
    agency.load_chunk("tax", "l1", 2, register_of(range(5, 9)))
    state = agency.finish_load("tax", "l1", 2)
    assert (state.rows, state.complete) == (9, True)
    assert rows_of(agency, [own_id(8), own_id(9), own_id(1)], [0, 1]) == [
        {ITEM: {"born": "1958-02-03", "income": 8000, "sex": "1"}, "道府県民税": {"rate": 8}},
        None,
        {ITEM: {"born": "1951-02-03", "income": 1000, "sex": "1"}, "道府県民税": {"rate": 1}},
    ]
    assert rows_of(agency, [own_id(8)], [1]) == [{"道府県民税": {"rate": 8}}]


def test_an_older_generation_answers_until_the_next_is_whole(agency: Agency) -> None:
    load(agency, [register_of(range(3))])
    agency.begin_load("tax", "l2")
    agency.load_chunk("tax", "l2", 1, csv_of([line(1, income="7")]))
    assert rows_of(agency, [own_id(1), own_id(2)], [1]) == [{"道府県民税": {"rate": 1}}, {"道府県民税": {"rate": 2}}]
    agency.finish_load("tax", "l2", 1)
    found = rows_of(agency, [own_id(1), own_id(2)], [0])
    assert found[0] is not None
    assert found[0][ITEM]["income"] == 7
    assert found[1] is None
    # What nothing names any more is gone: rows and index of one generation are left.
    assert len(list((agency._store.folder / "files").iterdir())) == 2


def test_a_chunk_sent_twice_is_accepted_and_another_content_refused(agency: Agency) -> None:
    agency.begin_load("tax", "l1")
    agency.load_chunk("tax", "l1", 1, register_of([1]))
    assert agency.load_chunk("tax", "l1", 1, register_of([1])).rows == 1
    with pytest.raises(RequestError, match="chunk 1: expected what was sent before"):
        agency.load_chunk("tax", "l1", 1, register_of([2]))
    assert agency.finish_load("tax", "l1", 1).rows == 1


def test_a_chunk_out_of_order_is_refused_with_the_number_expected(agency: Agency) -> None:
    agency.begin_load("tax", "l1")
    agency.load_chunk("tax", "l1", 1, register_of([1]))
    for number in (3, 0, -1):
        with pytest.raises(RequestError, match="expected chunk 2"):
            agency.load_chunk("tax", "l1", number, register_of([3]))
    with pytest.raises(RequestError, match="expected all of 3 chunks to be there, got 1"):
        agency.finish_load("tax", "l1", 3)


def test_a_chunk_damaged_on_its_way_is_refused(agency: Agency) -> None:
    agency.begin_load("tax", "l1")
    with pytest.raises(RequestError, match="damaged on its way"):
        agency.load_chunk("tax", "l1", 1, register_of([1]), sha256=bytes(32))


def test_a_load_goes_on_after_reopening(tmp_path: Path) -> None:
    with hub.agency.open(tmp_path / "a", institution="131016", create=True) as agency:
        agency.declare(LAYOUT)
        agency.begin_load("tax", "l1")
        agency.load_chunk("tax", "l1", 1, register_of([1, 2]))
    with hub.agency.open(tmp_path / "a") as agency:
        assert agency.begin_load("tax", "l1").chunks == 1
        with pytest.raises(RequestError, match="expected the load under way"):
            agency.begin_load("tax", "l2")
        agency.load_chunk("tax", "l1", 2, register_of([3]))
        agency.finish_load("tax", "l1", 2)
        assert agency.finish_load("tax", "l1", 2).complete
        assert agency.begin_load("tax", "l1").complete
        assert None not in rows_of(agency, [own_id(1), own_id(2), own_id(3)], [0])


def test_an_abandoned_load_leaves_nothing(agency: Agency) -> None:
    load(agency, [register_of([1])])
    agency.begin_load("tax", "l2")
    agency.load_chunk("tax", "l2", 1, register_of([2]))
    agency.abandon_load("tax", "l2")
    assert len(list((agency._store.folder / "files").iterdir())) == 2
    load(agency, [register_of([2])], "l3")
    assert rows_of(agency, [own_id(1)], [0]) == [None]


def test_a_person_with_two_rows_refuses_the_load_and_names_the_chunk(agency: Agency) -> None:
    agency.begin_load("tax", "l1")
    agency.load_chunk("tax", "l1", 1, register_of([1, 2]))
    agency.load_chunk("tax", "l1", 2, register_of([3, 1]))
    with pytest.raises(RequestError, match="got 1 more, the first in chunk 2"):
        agency.finish_load("tax", "l1", 2)
    assert agency.begin_load("tax", "l1").chunks == 2
    agency.abandon_load("tax", "l1")


GOOD = [line(1), line(2)]

BAD = [
    ("a date that is none", [line(1), f"{own_id(2)},1999-02-29,1,1,1"], "line 3, column born: expected a date"),
    ("a date before the bound", [f"{own_id(2)},1899-12-31,1,1,1"], "line 2, column born: expected a date from 1900"),
    ("a sex code as date of birth", [f"{own_id(3)},1,1000,1,1"], "line 2, column born"),
    ("text in a number", [line(1), f"{own_id(2)},1999-02-01,x,1,1"], "line 3, column income"),
    ("a number below the bound", [f"{own_id(2)},1999-02-01,-1,1,1"], "line 2, column income"),
    ("a value of another code", [f"{own_id(2)},1999-02-01,1,3,1"], "line 2, column sex: expected one of"),
    ("a cell too many", [line(1), line(2) + ",9"], "line 3: expected 5 cells"),
    ("a cell too few", [line(1), "x,y"], "line 3: expected 5 cells"),
    ("an empty key", [",1999-02-01,1,1,1"], "line 2, column id"),
    ("quoted text that is broken", [line(1), '"x,1999-02-01,1,1,1'], "line 3: broken CSV"),
    ("a quoted cell that does not fit", [line(1), '"a","1999-13-01","1",1,1'], "line 3, column born"),
]


@pytest.mark.parametrize(("lines", "message"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_what_does_not_fit_is_named_and_nothing_of_it_kept(agency: Agency, lines: list[str], message: str) -> None:
    agency.begin_load("tax", "l1")
    with pytest.raises(RequestError) as caught:
        agency.load_chunk("tax", "l1", 1, csv_of(lines))
    assert message in str(caught.value)
    for cell in ("1999", "x,", "own-"):
        assert cell not in str(caught.value)
    assert agency.begin_load("tax", "l1").rows == 0
    agency.load_chunk("tax", "l1", 1, csv_of(GOOD))
    assert agency.finish_load("tax", "l1", 1).rows == 2


def test_a_shifted_column_is_found_by_its_types(agency: Agency) -> None:
    lines = [f"{own_id(i)},{1000 * i},1,1950-01-01,{i}" for i in range(1, 50)]
    agency.begin_load("tax", "l1")
    with pytest.raises(RequestError, match=r"line 2, column born: .*shifted"):
        agency.load_chunk("tax", "l1", 1, csv_of(lines))
    # The same cells under a header that says where they stand are right.
    load(agency, [csv_of(lines, header="id,income,sex,born,rate")])


@pytest.mark.parametrize(
    "header", ["id,born,income,sex", "id,born,income,sex,rate,more", "id,born,income,sex,sex", line(1)]
)
def test_another_header_is_refused(agency: Agency, header: str) -> None:
    agency.begin_load("tax", "l1")
    with pytest.raises(RequestError, match="line 1: expected the columns of the layout"):
        agency.load_chunk("tax", "l1", 1, csv_of([], header=header))


def check_digit(body: str) -> int:
    rest = sum(int(digit) * (2 + at % 6) for at, digit in enumerate(reversed(body))) % 11
    return 0 if rest <= 1 else 11 - rest


DIGITS = """
name = "tax"
key = { column = "id", kind = "own_id" }
[[column]]
name = "number"
item = "市町村民税"
type = "digits"
width = 8
check = "mod11"
[[column]]
name = "other"
item = "市町村民税"
type = "digits"
width = 8
"""


def test_two_columns_of_digits_that_changed_places_are_found_by_check_digits(agency: Agency) -> None:
    agency.declare(DIGITS)
    random = np.random.default_rng(3)
    bodies = [f"{number:07d}" for number in random.integers(0, 10**7, 200).tolist()]
    numbers = [body + str(check_digit(body)) for body in bodies]
    others = [f"{number:08d}" for number in random.integers(0, 10**8, 200).tolist()]
    right = [f"{own_id(i)},{a},{b}" for i, (a, b) in enumerate(zip(numbers, others, strict=True))]
    wrong = [f"{own_id(i)},{b},{a}" for i, (a, b) in enumerate(zip(numbers, others, strict=True))]
    agency.begin_load("tax", "l1")
    with pytest.raises(RequestError, match="column number: expected check digits that hold"):
        agency.load_chunk("tax", "l1", 1, csv_of(wrong, header="id,number,other"))
    agency.load_chunk("tax", "l1", 1, csv_of(right, header="id,number,other"))
    assert agency.finish_load("tax", "l1", 1).rows == 200


@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        ("utf-8", f"{HEADER}\n宛名1,1999-01-01,1,1,1\n".encode("cp932"), "line 2: expected text in UTF-8"),
        ("cp932", f"{HEADER}\n宛名1,1999-01-01,1,1,1\n".encode(), "line 2: expected text in CP932, found UTF-8"),
        ("cp932", f"{HEADER}\n宛名1,1999-01-01,1,1,1\n".encode("utf-8-sig"), "byte order mark"),
        ("auto", f"{HEADER}\na,1999-01-01,1,1,1\n".encode() + b"\xff\xfe", "line 3: expected text in UTF-8 or CP932"),
        (
            "auto", f"{HEADER}\n宛名1,1999-01-01,1,1,1\n".encode() + "宛名2,1999-01-01,1,1,1\n".encode("cp932"),
            "expected",
        ),
    ],
)  # fmt: skip
def test_the_wrong_encoding_is_refused(agency: Agency, encoding: str, data: bytes, message: str) -> None:
    agency.declare(LAYOUT.replace('name = "tax"', f'name = "tax"\nencoding = "{encoding}"', 1))
    agency.begin_load("tax", "l1")
    with pytest.raises(RequestError) as caught:
        agency.load_chunk("tax", "l1", 1, data)
    assert message in str(caught.value)
    assert agency.begin_load("tax", "l1").rows == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
@pytest.mark.parametrize("quoted", [False, True])
def test_either_encoding_gives_the_same_rows(agency: Agency, encoding: str, quoted: bool) -> None:
    cells = ["宛名-0001", "1999-01-01", "5", "1", ""]
    text = ",".join(f'"{cell}"' for cell in cells) if quoted else ",".join(cells)
    load(agency, [f"{HEADER}\r\n{text}\r\n".encode(encoding)])
    assert rows_of(agency, ["宛名-0001"], [0, 1]) == [{ITEM: {"born": "1999-01-01", "income": 5, "sex": "1"}}]


def test_cells_by_name_give_the_same_rows_as_a_csv(agency: Agency) -> None:
    columns = list(zip(*(line(person).split(",") for person in range(4)), strict=True))
    block = {name: cells_of_texts(list(column)) for name, column in zip(HEADER.split(","), columns, strict=True)}
    agency.begin_load("tax", "l1")
    agency.load_chunk("tax", "l1", 1, [block])
    agency.load_chunk("tax", "l1", 1, [block])
    agency.finish_load("tax", "l1", 1)
    found = rows_of(agency, [own_id(3)], [0])
    load(agency, [register_of(range(4))], "l2")
    assert rows_of(agency, [own_id(3)], [0]) == found


@pytest.mark.parametrize("value", [0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 10**17, 999999999999999999])
def test_integers_of_any_size_come_back(agency: Agency, value: int) -> None:
    load(agency, [csv_of([f"{own_id(1)},,{value},,{-value}"])])
    found = rows_of(agency, [own_id(1)], [0, 1])
    assert found == [{ITEM: {"born": None, "income": value, "sex": None}, "道府県民税": {"rate": -value}}]


def test_texts_of_any_length_come_back(agency: Agency) -> None:
    agency.declare(
        'name = "tax"\nkey = { column = "id", kind = "own_id" }\n'
        '[[column]]\nname = "t"\nitem = "市町村民税"\ntype = "text"\nmax_bytes = 4096\n'
    )
    sizes = [0, 1, 31, 32, 255, 256, 4096]
    load(agency, [csv_of([f"{own_id(size)},{'x' * size}" for size in sizes], header="id,t")])
    found = rows_of(agency, [own_id(size) for size in sizes], [0])
    assert found == [{}] + [{ITEM: {"t": "x" * size}} for size in sizes[1:]]
    agency.begin_load("tax", "l2")
    with pytest.raises(RequestError, match="at most 4096 bytes"):
        agency.load_chunk("tax", "l2", 1, csv_of([f"a,{'x' * 4097}"], header="id,t"))


def test_more_rows_than_are_judged_together_come_back(agency: Agency) -> None:
    persons = range(40_000)
    load(agency, [register_of(persons[:33_000]), register_of(persons[33_000:])])
    some = [0, 16_383, 16_384, 32_999, 33_000, 39_999]
    found = rows_of(agency, [own_id(person) for person in some], [1])
    assert found == [{"道府県民税": {"rate": person}} for person in some]


@pytest.mark.parametrize(
    "change",
    [
        ('type = "date"', 'type = "day"'), ("min = 1900-01-01", "min = 5"), ('kind = "own_id"', 'kind = "name"'),
        ('name = "sex"', 'name = "born"'), ("min = 0", "least = 0"), ('values = ["1", "2"]', "width = 3"),
        ('name = "tax"', 'name = ""'),
    ],
)  # fmt: skip
def test_a_layout_that_contradicts_itself_is_refused(change: tuple[str, str]) -> None:
    assert read_layout(LAYOUT).items == (ITEM, "道府県民税")
    with pytest.raises(RequestError, match="layout"):
        read_layout(LAYOUT.replace(*change, 1))


def test_damaged_rows_are_named_and_nothing_is_answered(tmp_path: Path) -> None:
    with hub.agency.open(tmp_path / "a", institution="131016", create=True) as agency:
        agency.declare(LAYOUT)
        load(agency, [register_of(range(5))])
        with agency._store.read() as reader:
            found = read_register(reader, "tax")
        assert found is not None
        assert found.generation is not None
        path = agency._store.path(found.generation.rows_file)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with hub.agency.open(tmp_path / "a") as agency, pytest.raises(StorageError, match="expected the stored checksum"):
        rows_of(agency, [own_id(1)], [0])
    path.write_bytes(raw[:-1])
    with pytest.raises(StorageError, match="expected"):
        hub.agency.open(tmp_path / "a")


def test_what_stands_behind_the_named_length_is_cut_off(tmp_path: Path) -> None:
    with hub.agency.open(tmp_path / "a", institution="131016", create=True) as agency:
        agency.declare(LAYOUT)
        agency.begin_load("tax", "l1")
        agency.load_chunk("tax", "l1", 1, register_of([1]))
    sizes = {path: path.stat().st_size for path in (tmp_path / "a" / "files").iterdir()}
    for path in sizes:
        with path.open("ab") as file:
            file.write(b"left by a process that died")
    with hub.agency.open(tmp_path / "a") as agency:
        assert {path: path.stat().st_size for path in sizes} == sizes
        agency.load_chunk("tax", "l1", 2, register_of([2]))
        agency.finish_load("tax", "l1", 2)
        assert None not in rows_of(agency, [own_id(1), own_id(2)], [0])


@pytest.mark.parametrize("count", [15, 16, 64])
def test_an_item_of_many_columns_comes_back(agency: Agency, count: int) -> None:
    names = [f"c{number}" for number in range(count)]
    columns = "".join(f'[[column]]\nname = "{name}"\nitem = "市町村民税"\ntype = "int"\n' for name in names)
    agency.declare('name = "tax"\nkey = { column = "id", kind = "own_id" }\n' + columns)
    cells = ",".join(map(str, range(count)))
    load(agency, [csv_of([f"{own_id(1)},{cells}"], header="id," + ",".join(names))])
    assert rows_of(agency, [own_id(1)], [0]) == [{ITEM: {name: at for at, name in enumerate(names)}}]


def test_one_column_more_is_refused() -> None:
    columns = "".join(f'[[column]]\nname = "c{number}"\nitem = "i"\ntype = "int"\n' for number in range(65))
    with pytest.raises(RequestError, match="column: expected 1 to 64, got 65"):
        read_layout('name = "tax"\nkey = { column = "id", kind = "own_id" }\n' + columns)


@pytest.mark.parametrize(("count", "fits"), [(15, True), (16, False)])
def test_a_register_has_at_most_15_items(count: int, fits: bool) -> None:
    columns = "".join(
        f'[[column]]\nname = "c{number}"\nitem = "i{number}"\ntype = "int"\n' for number in range(count)
    )
    text = 'name = "tax"\nkey = { column = "id", kind = "own_id" }\n' + columns
    if fits:
        assert len(read_layout(text).items) == 15
    else:
        with pytest.raises(RequestError, match="items: expected at most 15"):
            read_layout(text)


def test_a_register_without_rows_is_loaded_all_the_same(agency: Agency) -> None:
    load(agency, [csv_of([])])
    assert rows_of(agency, [own_id(1)], [0]) == [None]
    load(agency, [], "none")
    assert rows_of(agency, [own_id(1)], [0]) == [None]


def test_a_chunk_that_is_too_long_is_refused(agency: Agency, monkeypatch: pytest.MonkeyPatch) -> None:
    good = register_of([1])
    monkeypatch.setattr(register, "LOAD_CHUNK_BYTES_MAX", len(good))
    agency.begin_load("tax", "l1")
    agency.load_chunk("tax", "l1", 1, good)
    with pytest.raises(RequestError, match="at most"):
        agency.load_chunk("tax", "l1", 2, good + b"\n")


def test_what_a_row_has_of_an_item_is_bounded(agency: Agency) -> None:
    names = [f"c{number}" for number in range(5)]
    columns = "".join(
        f'[[column]]\nname = "{name}"\nitem = "市町村民税"\ntype = "text"\nmax_bytes = 4096\n' for name in names
    )
    agency.declare('name = "tax"\nkey = { column = "id", kind = "own_id" }\n' + columns)
    agency.begin_load("tax", "l1")
    cells = ",".join(["x" * 4096] * 4)
    with pytest.raises(RequestError, match="at most 16384 bytes of item"):
        agency.load_chunk("tax", "l1", 1, csv_of([f"a,{cells},"], header="id," + ",".join(names)))
    assert agency.load_chunk("tax", "l1", 1, csv_of(["a,,,,,"], header="id," + ",".join(names))).rows == 1


def test_what_a_row_has_of_all_items_is_bounded(agency: Agency) -> None:
    names = [f"c{number}" for number in range(16)]
    columns = "".join(
        f'[[column]]\nname = "{name}"\nitem = "i{number // 3}"\ntype = "text"\nmax_bytes = 4096\n'
        for number, name in enumerate(names)
    )
    agency.declare('name = "tax"\nkey = { column = "id", kind = "own_id" }\n' + columns)
    agency.begin_load("tax", "l1")
    header = "id," + ",".join(names)
    with pytest.raises(RequestError, match="at most 64512 bytes in a row"):
        agency.load_chunk("tax", "l1", 1, csv_of(["a," + ",".join(["x" * 4096] * 16)], header=header))
    agency.load_chunk("tax", "l1", 1, csv_of(["a," + ",".join(["x" * 4000] * 16)], header=header))

"""What type checkers are told of the native modules is what these have."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import hub

STUBS = sorted(Path(hub.__file__).parent.glob("_*.pyi"))


def test_every_native_module_has_a_stub() -> None:
    assert {stub.stem for stub in STUBS} == {source.stem for source in Path(hub.__file__).parent.glob("_*.pyx")}


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.stem)
def test_a_stub_names_what_the_module_has(stub: Path) -> None:
    names = {a or b for a, b in re.findall(r"^(?:def|class) (\w+)|^(\w+):", stub.read_text(), re.M)}
    module = importlib.import_module(f"hub.{stub.stem}")
    assert not {name for name in names if not hasattr(module, name)}
    public = re.findall(r"^(?:def|cdef class) ([A-Za-z]\w+)(?=[(:])", stub.with_suffix(".pyx").read_text(), re.M)
    assert set(public) <= names

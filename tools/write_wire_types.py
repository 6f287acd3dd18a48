"""Write ``src/hub/wire/typed.pyi``: the methods that the wire has, with their types, for type checkers and editors.

``hub.connect`` makes its methods from the table in ``wire/methods.py`` when it is imported, which nobody sees who only
reads the source. ``python tools/write_wire_types.py`` after a method was added; a test compares.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hub.client import PROPERTIES
from hub.hub import Hub
from hub.wire.methods import METHODS, PAGES

PLACE = Path(__file__).parent.parent / "src" / "hub" / "wire" / "typed.pyi"
WIDTH = 120

HEAD = '''"""The methods of a hub on another machine, with their types; what each does stands with :class:`hub.Hub`.

Written by tools/write_wire_types.py from the embedded hub's signatures; read by type checkers and editors only.
"""

'''


def write_types() -> str:
    """The whole text of the module."""
    names = [name for name in METHODS if name not in PROPERTIES]
    imports: dict[str, set[str]] = {}
    classes = [
        "class RemoteMethods:\n" + '    """Of :func:`hub.connect`."""\n',
        "class AsyncRemoteMethods:\n" + '    """Of :func:`hub.aio.connect`."""\n',
    ]
    for name in names:
        function = getattr(Hub, name)
        signature = inspect.signature(function)
        for text in (*(one.annotation for one in signature.parameters.values()), signature.return_annotation):
            find_imports(text, inspect.getmodule(function), imports)
        parameters = [spell(one) for one in signature.parameters.values()]
        kinds = [one.kind for one in signature.parameters.values()]
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters.insert(kinds.index(keyword) if keyword in kinds else len(kinds), "*")
        parameters.append("timeout: float | None = None")
        if name in PAGES:
            parameters.append("proofs: bool | None = None")
        result = "None" if signature.return_annotation is inspect.Signature.empty else signature.return_annotation
        for place, word in enumerate(("def", "async def")):
            classes[place] += "\n" + spell_method(f"    {word} {name}(", parameters, f") -> {result}: ...\n")
    return HEAD + "from __future__ import annotations\n\n" + spell_imports(imports) + "\n\n" + "\n\n".join(classes)


def spell_imports(imports: dict[str, set[str]]) -> str:
    """As the linter has them: the standard library's, others', ours; in each, modules first."""
    groups: list[list[str]] = [[], [], []]
    for module, names in sorted(imports.items(), key=lambda one: (bool(one[1]), one[0])):
        root = module.split()[0].split(".")[0]
        group = groups[0 if root in sys.stdlib_module_names else 2 if root == "hub" else 1]
        if not names:
            group.append(f"import {module}")
            continue
        line = f"from {module} import {', '.join(sorted(names))}"
        wrapped = f"from {module} import (\n" + "".join(f"    {one},\n" for one in sorted(names)) + ")"
        group.append(line if len(line) <= WIDTH else wrapped)
    return "\n\n".join("\n".join(group) for group in groups if group)


def find_imports(text: Any, module: ModuleType | None, imports: dict[str, set[str]]) -> None:
    """Where the names of an annotation come from."""
    if not isinstance(text, str):
        return
    for name in re.findall(r"[A-Za-z_][\w.]*", re.sub(r"\"[^\"]*\"|'[^']*'", "", text)):
        root = name.split(".")[0]
        value = vars(module).get(root)
        if isinstance(value, ModuleType):
            imports.setdefault(value.__name__ + (f" as {root}" if root != value.__name__ else ""), set())
        elif value is not None:
            imports.setdefault(origin_of(root, value, module), set()).add(root)


def origin_of(name: str, value: Any, module: ModuleType | None) -> str:
    """The module to import a name from: where it was made, else where it stands."""
    made = getattr(value, "__module__", None)
    if made in sys.modules and vars(sys.modules[made]).get(name) is value and not made.startswith("_"):
        return str(made)
    # An alias of types does not know where it was made: one of the modules that share it.
    for place in ("typing", "hub.messages", "hub.limits"):
        if place in sys.modules and vars(sys.modules[place]).get(name) is value:
            return place
    assert module is not None
    return module.__name__


def spell(one: inspect.Parameter) -> str:
    """A parameter as it is written."""
    text = one.name
    if one.annotation is not inspect.Parameter.empty:
        text += f": {one.annotation}"
    if one.default is not inspect.Parameter.empty:
        # Which default it is says the embedded hub; a type checker wants to know that there is one.
        plain = one.default is None or type(one.default) in (bool, str)
        text += f" = {one.default!r}" if plain else " = ..."
    return text


def spell_method(begin: str, parameters: list[str], end: str) -> str:
    """On one line where it fits, else as few as possible."""
    whole = begin + ", ".join(parameters) + end
    if len(whole) <= WIDTH:
        return whole
    lines, line = [], "        "
    for one in parameters:
        if len(line) + len(one) + 2 > WIDTH:
            lines.append(line.rstrip())
            line = "        "
        line += one + ", "
    return "\n".join([begin, *lines, line.rstrip(", ") + ",", "    " + end.rstrip("\n")]) + "\n"


if __name__ == "__main__":
    PLACE.write_text(write_types(), encoding="utf-8")

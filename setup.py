"""Build of the native modules, ``hub._core`` and its like; everything else about the package stands in pyproject.toml.

Variables of the environment:

``HUB_PORTABLE=1``  no ``-march``: for x86-64 processors older than v2 (before 2009). Other processors never get one.
``HUB_DEBUG=1``     ``-O0 -g``, Cython's bounds and wrap-around checks on, ``assert`` compiled in.
``HUB_SANITIZE=1``  AddressSanitizer and UndefinedBehaviorSanitizer (load libasan first, as ``make sanitize`` does).

The flags are compiled into the module as the C string ``HUB_BUILD`` (``hub._core.BUILD``), so that a figure can
name the build that it was measured with. ``-march=native`` is never used: a wheel must run on another machine.
"""

import os
import platform
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("HUB_DEBUG") == "1"
SANITIZE = os.environ.get("HUB_SANITIZE") == "1"
PORTABLE = os.environ.get("HUB_PORTABLE") == "1" or platform.machine().lower() not in ("x86_64", "amd64")

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]


def compile_flags() -> list[str]:
    """The flags that this build adds to those of the Python that it is built for."""
    flags = ["-O0", "-g"] if DEBUG else ["-O3"]
    if not PORTABLE:
        flags.append("-march=x86-64-v2")
    if SANITIZE:
        flags += ["-g", *SANITIZERS]
    return flags


def variant() -> str:
    """The folder below build/ of this kind of build: a debug object must never be linked into a release."""
    names = [name for name, on in [("debug", DEBUG), ("sanitize", SANITIZE), ("portable", PORTABLE)] if on]
    return "-".join(names) or "release"


def flags_changed(base: Path, flags: list[str]) -> bool:
    """Whether the last build in this tree had other flags; setuptools compares only the times of files."""
    noted, text = base / "last-flags", " ".join(flags)
    if noted.is_file() and noted.read_text() == text:
        return False
    base.mkdir(exist_ok=True)
    noted.write_text(text)
    return True


def main() -> None:
    flags = compile_flags()
    build_base = Path("build") / variant()
    macros: list[tuple[str, str | None]] = [
        ("HUB_BUILD", '"' + " ".join(flags) + '"'),
        ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"),
    ]
    if not DEBUG:
        macros += [("NDEBUG", None), ("CYTHON_WITHOUT_ASSERTIONS", None)]
    native = Extension(
        "hub.*",
        sources=["src/hub/_*.pyx"],
        include_dirs=[numpy.get_include()],
        define_macros=macros,
        undef_macros=["NDEBUG"] if DEBUG else [],
        extra_compile_args=flags,
        extra_link_args=SANITIZERS if SANITIZE else [],
        language="c",
    )
    extensions = cythonize(
        [native],
        build_dir=str(build_base / "cython"),
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": DEBUG,
            "initializedcheck": False,
            "cdivision": True,
        },
    )
    setup(
        ext_modules=extensions,
        options={
            "build": {"build_base": str(build_base)},
            # Each module is compiled by itself: as many at a time as there are processors.
            "build_ext": {"force": flags_changed(Path("build"), flags), "parallel": os.cpu_count() or 1},
        },
    )


main()

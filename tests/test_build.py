"""The build: its flags, and what a machine without a compiler or headers is told."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TINY_CORE = """
cdef extern from *:
    const char* HUB_BUILD
BUILD = HUB_BUILD.decode()

def item(unsigned char[::1] values, Py_ssize_t i):
    return values[i]
"""
SHOW = "import hub._core as c; print(c.BUILD)"

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HUB_", "MAKE", "MFLAGS"))} | variables
    environment.pop("LD_PRELOAD", None)
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The project's build files around a core that compiles in a second."""
    for name in ("setup.py", "pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "README.md").touch()
    package = tmp_path / "src/hub"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "_core.pyx").write_text(TINY_CORE)
    return tmp_path


def build(tree: Path, **variables: str) -> str:
    """Build in place and return the flags that the module names."""
    pytest.importorskip("Cython")
    done = run(sys.executable, "setup.py", "build_ext", "--inplace", cwd=tree, CFLAGS="-O0", **variables)
    assert done.returncode == 0, done.stderr
    shown = run(sys.executable, "-c", SHOW, cwd=tree, PYTHONPATH=str(tree / "src"))
    return shown.stdout.strip()


def test_the_core_names_its_flags_and_was_not_built_for_this_machine_only() -> None:
    core = pytest.importorskip("hub._core")
    assert "-O" in core.BUILD
    assert "native" not in core.BUILD


def test_other_flags_rebuild_the_core_and_back(tree: Path) -> None:
    release = build(tree)
    assert release.startswith("-O3")
    assert "g" not in release.replace("-march=x86-64-v2", "")
    portable = build(tree, HUB_PORTABLE="1")
    assert portable == "-O3"
    debug = build(tree, HUB_DEBUG="1")
    assert debug.startswith("-O0 -g")
    bounds = run(
        sys.executable, "-c", "import hub._core as c; c.item(bytearray(2), 2)", cwd=tree, PYTHONPATH=str(tree / "src")
    )
    assert "IndexError" in bounds.stderr
    assert build(tree) == release


def test_unchanged_sources_are_not_compiled_again(tree: Path) -> None:
    build(tree)
    core = next((tree / "src/hub").glob("_core*.so"))
    built = core.stat().st_mtime_ns
    build(tree)
    assert core.stat().st_mtime_ns == built


@needs_make
def test_make_alone_lists_the_targets(tree: Path) -> None:
    done = run("make", cwd=tree)
    assert done.returncode == 0
    for target in ("build", "demo", "test", "lint", "bench", "debug", "sanitize", "clean"):
        assert f"make {target} " in done.stdout


@needs_make
@pytest.mark.parametrize("name", ["test", "lint", "bench", "peers"])
def test_extras_are_installed_without_the_package(tree: Path, name: str) -> None:
    """With the package they would compile it once more."""
    environment = tree / ".venv"
    (environment / "bin").mkdir(parents=True)
    python = environment / "bin/python"
    # Python, but for pip: what that is asked for is printed.
    shown = 'if [ "$1" = -m ]; then printf "%s\\n" "$@"; else'
    python.write_text(f"#!/bin/sh\n{shown} exec '{sys.executable}' \"$@\"; fi\n")
    python.chmod(0o755)
    (environment / ".built").touch()
    done = run("make", "-o", ".venv/.built", f".venv/.extra-{name}", cwd=tree)
    assert done.returncode == 0, done.stderr
    first, *words = done.stdout.splitlines()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = first.removeprefix("installing ").split(",")
    assert name in asked
    assert words[words.index("install") + 1 :] == ["--no-compile", *(one for extra in asked for one in extras[extra])]


@needs_make
@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({"CC": "no-such-compiler"}, "a C compiler"),
        ({"PYTHON": "no-such-python"}, "Python >= 3.11"),
        ({"PYTHON": "{tree}/headless"}, "Python.h"),
        ({"PYTHON": "{tree}/venvless"}, "the venv module"),
    ],
)
def test_a_machine_that_cannot_build_is_told_in_one_line(tree: Path, variables: dict[str, str], missing: str) -> None:
    lies = {
        "headless": "import sysconfig; sysconfig.get_path = lambda name: '/nowhere'",
        "venvless": "import importlib.util as u; u.find_spec = lambda name: None",
    }
    for name, lie in lies.items():
        # A Python that says what Debian's says without python3-dev, and without python3-venv.
        script = tree / name
        script.write_text(f"#!/bin/sh\nexec '{sys.executable}' -c \"{lie}\n$2\"\n")
        script.chmod(0o755)
    assignments = {name: value.format(tree=tree) for name, value in variables.items()}
    done = run("make", "build", *(f"{n}={v}" for n, v in assignments.items()), cwd=tree, **assignments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"hub cannot be built: {missing}" in line
    assert "python3-dev python3-venv gcc" in line
    assert not (tree / ".venv").exists()

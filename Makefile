# Two commands do everything on a fresh machine: `make demo` and `make test`. `make` alone lists the rest.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build demo test lint bench peers debug sanitize wheel clean
SHELL := /bin/sh

VENV ?= .venv
PY := $(VENV)/bin/python
PIP = $(PY) -m pip --disable-pip-version-check --no-input -q
# Tests start hundreds of processes: without kept bytecode each of them compiles every module again.
unexport PYTHONDONTWRITEBYTECODE
# Arguments handed on: make test ARGS="-k resolve -x", make demo ARGS="--residents 100000 --keep"
ARGS ?=

# Where a Python, its headers, the venv module or a C compiler lacks, this prints what; nothing when all is there.
FIND_MISSING = import importlib.util as u, os, shutil, sys, sysconfig as s; \
  cc = (os.environ.get("CC") or s.get_config_var("CC") or "cc").split()[0]; \
  old = sys.version_info < (3, 11); \
  parts = [("Python >= 3.11", not old), \
           ("the venv module", all(map(u.find_spec, ("venv", "ensurepip")))), \
           ("Python.h", os.path.isfile(os.path.join(s.get_path("include"), "Python.h"))), \
           ("a C compiler", shutil.which(cc))]; \
  print(", ".join(n for n, there in parts if not there))

# The first Python that has everything: python3 may be an old one of pyenv while Debian's own is new enough.
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do \
  if missing=$$($$p -c '$(FIND_MISSING)' 2>/dev/null) && [ -z "$$missing" ]; then echo $$p; break; fi; done)
endif
MISSING = $(shell p='$(or $(PYTHON),python3)'; $$p -c '$(FIND_MISSING)' 2>/dev/null || echo 'Python >= 3.11')

# $(error) prints one line and ends make with status 2.
CHECK_MACHINE = $(if $(MISSING),$(error hub cannot be built: $(MISSING) not found; on Debian: apt-get install python3-dev python3-venv gcc))

NATIVE := setup.py pyproject.toml $(wildcard src/hub/_*.pyx src/hub/_*.pxd)
BUILD_REQUIRES = $(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")'

# What extras need, by itself: to install the package with them would compile it once more.
EXTRA_REQUIRES = $(PY) -c 'import sys, tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; print(*(r for name in sys.argv[1].split(",") for r in extras[name]), sep="\n")'

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

build: $(VENV)/.built ## build the package into .venv (nothing to do when it is up to date)

demo: build ## the main job on a million synthetic residents, about a minute
	$(PY) -m hub.demo $(ARGS)

# A file of tests to each processor at a time, the long ones first (tests/conftest.py); ARGS="-n 0 ..." runs them in one process, as a debugger needs it.
test: $(VENV)/.extra-test ## install the test tools and run the tests
	$(PY) -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.extra-lint ## ruff, mypy, cython-lint
	@PATH="$(abspath $(VENV))/bin:$$PATH"; status=0; for check in "$(PY) -m ruff check ." "$(PY) -m mypy" "$(VENV)/bin/cython-lint src/hub"; do \
	  echo "$$check"; $$check || status=1; done; exit $$status

bench: $(VENV)/.extra-bench ## measure every stage beside its peers (python -m hub.bench; more of them: make peers)
	$(PY) -m hub.bench $(ARGS)

# Servers are only installed: RUNLEVEL=1 keeps Debian from starting them, the bench starts its own.
PEER_SERVERS := redis-server postgresql
peers: $(VENV)/.extra-peers ## install what the hub is measured beside: from PyPI, and as root on Debian its servers
	@if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	  echo "peers: redis-server and PostgreSQL come from your system; where they lack, the bench says so"; \
	elif ! { command -v redis-server && ls /usr/lib/postgresql/*/bin/initdb; } >/dev/null 2>&1; then \
	  apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -qq --no-install-recommends $(PEER_SERVERS) >/dev/null; \
	fi

# Non-editable installs in a venv of their own: the core in src/ stays the release build.
debug: ## build with assertions and bounds checks, and run the tests on that
	$(MAKE) --no-print-directory variant-venv VARIANT=debug HUB_DEBUG=1
	PYTHONDEVMODE=1 build/venv-debug/bin/python -m pytest $(ARGS)

# CPython frees little at exit, so leaks are not reported.
sanitize: ## build with AddressSanitizer and UBSan, and run the tests on that
	$(MAKE) --no-print-directory variant-venv VARIANT=sanitize HUB_SANITIZE=1
	ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 \
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	build/venv-sanitize/bin/python -m pytest -m "not preload" $(ARGS)

.PHONY: variant-venv
variant-venv: export HUB_DEBUG := $(HUB_DEBUG)
variant-venv: export HUB_SANITIZE := $(HUB_SANITIZE)
variant-venv:
	$(CHECK_MACHINE)
	@echo "building hub into build/venv-$(VARIANT)"
	@test -x build/venv-$(VARIANT)/bin/python || $(PYTHON) -m venv build/venv-$(VARIANT)
	@rm -rf build/$(VARIANT)/lib.*
	@$(MAKE) --no-print-directory VENV=build/venv-$(VARIANT) install-variant

.PHONY: install-variant
install-variant:
	@$(BUILD_REQUIRES) | xargs -d '\n' $(PIP) install
	@$(PIP) install --no-build-isolation ".[test,files,bench,peers,serve,portal]"
	@$(PIP) install --no-build-isolation --no-deps --force-reinstall .

wheel: build ## a wheel for any x86-64-v2 in dist/ (HUB_PORTABLE=1 make wheel: for any x86-64)
	$(PIP) wheel --no-build-isolation --no-deps -w dist .

clean: ## remove everything that was built, .venv included
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks src/hub.egg-info
	find src tests tools bench -name __pycache__ -type d -prune -exec rm -rf {} +
	find src -name '_*.so' -delete

$(PY):
	$(CHECK_MACHINE)
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.built: $(NATIVE) | $(PY)
	$(CHECK_MACHINE)
	@echo "building hub into $(VENV)"
	@$(BUILD_REQUIRES) | xargs -d '\n' $(PIP) install
	@$(PIP) install --no-build-isolation -e .
	@touch $@

# The test tools include what the tests of files and bench use.
$(VENV)/.extra-test: EXTRAS = test,files,bench,peers,serve,portal
$(VENV)/.extra-lint: EXTRAS = lint
$(VENV)/.extra-bench: EXTRAS = bench
$(VENV)/.extra-peers: EXTRAS = bench,peers
$(VENV)/.extra-%: $(VENV)/.built pyproject.toml
	@echo "installing $(EXTRAS)"
	@$(EXTRA_REQUIRES) $(EXTRAS) | xargs -d '\n' $(PIP) install --no-compile
	@touch $@

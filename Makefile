# make demo and make test do all the set-up themselves.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: venv demo test lint bench constraints clean

venv: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: venv
	$(BIN)/python recipes/demo.py

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest

# About two hours on two cores with nothing else to do; installs the peers into build/peers.
bench: venv
	$(BIN)/python benchmarks/throughput.py

# Pins every version that `make venv` installs, from a fresh environment.
constraints:
	rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet --upgrade pip
	build/constraints/bin/python -m pip install --quiet --editable '.[dev]'
	(echo '# Made by `make constraints`.' && build/constraints/bin/python -m pip freeze --exclude-editable --exclude gzfound) > constraints.txt
	rm -rf build/constraints

clean:
	rm -rf .venv build demo

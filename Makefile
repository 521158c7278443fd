# make demo: set up and run the main job.  make test: set up and pass the tests.
PYTHON ?= python3
UV_PIP  = .uv/bin/uv pip install --quiet --python .venv/bin/python
BIN     = .venv/bin

.PHONY: install demo test test-slow coverage lint constraints clean

install: .venv/.installed

# uv lives in its own small environment, so nothing outside this folder is touched.
.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv

.venv/.installed: .uv/bin/uv pyproject.toml constraints.txt
	test -x .venv/bin/python || .uv/bin/uv venv --quiet --python $(PYTHON) .venv
	$(UV_PIP) --constraints constraints.txt --editable '.[dev,labelstudio]'
	touch $@

demo: install
	$(BIN)/truck-counter demo

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Real servers, clocks and browsers on a busy machine: what fails beside others is tried once alone.
test: install lint
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" || \
	  $(BIN)/pytest --last-failed --last-failed-no-failures none -m "not slow"

test-slow: install
	$(BIN)/pytest -m slow

# Apart from `test`: on Python 3.11 tracing made the counting tests a quarter dearer.
coverage: install
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow" --cov --cov-report=term:skip-covered

# Versions only: a lock file would record where each package was downloaded from.
constraints: .uv/bin/uv
	.uv/bin/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url \
	  --all-extras pyproject.toml -o constraints.txt

clean:
	rm -rf .venv .uv data/demo

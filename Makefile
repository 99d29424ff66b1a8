# On a fresh machine: `make demo`, `make test`, `make docs`. To work on the library: `make dev`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test fuzz docs dev figures lint clean

demo: $(VENV)/.installed-demo
	$(BIN)/python examples/demo.py $(if $(EDF),--edf '$(EDF)') $(if $(HYPNOGRAM),--hypnogram '$(HYPNOGRAM)')

# tests start many processes, each of which would compile the package without its bytecode
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist loadfile

# damaged files and odd calls by seed: a share in ten minutes, or with FULL=1 all; the same call resumes
fuzz: $(VENV)/.installed-test
	$(BIN)/python -m tests.fuzz $(if $(FULL),,--share 0.4) --out .fuzz

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

dev: $(VENV)/.installed-test $(VENV)/.installed-docs $(VENV)/.installed-dev
	if command -v pre-commit >/dev/null && git rev-parse --git-dir >/dev/null 2>&1; then pre-commit install; fi

# the figures of the README and of docs/studies.md, from the gallery
figures: docs
	cp docs/auto_examples/images/sphx_glr_plot_stage_one_night_001.png docs/images/night_overview.png
	cp docs/auto_examples/images/sphx_glr_plot_label_efficiency_001.png docs/images/label_efficiency.png

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

$(VENV)/.installed-%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) .fuzz demo_output build dist docs/_build docs/api docs/auto_examples

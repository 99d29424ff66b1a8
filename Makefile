# On a fresh machine: `make demo`, `make test`, `make docs`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test docs figures lint clean

demo: $(VENV)/.installed-demo
	$(BIN)/python examples/demo.py $(if $(EDF),--edf '$(EDF)') $(if $(HYPNOGRAM),--hypnogram '$(HYPNOGRAM)')

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

# the README's two figures, from the gallery
figures: docs
	cp docs/auto_examples/images/sphx_glr_plot_stage_one_night_001.png docs/images/night_overview.png
	cp docs/auto_examples/images/sphx_glr_plot_label_efficiency_001.png docs/images/label_efficiency.png

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/.installed-%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) demo_output build dist docs/_build docs/api docs/auto_examples

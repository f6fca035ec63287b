# Needs Python 3.11 to 3.13 and make; everything else is installed into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check install benchmark clean

demo: $(VENV)/installed
	$(BIN)/shiva-cmb demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt -e '.[legacy,onnx,test,dev]'
	touch $@

benchmark: $(VENV)/installed
	$(BIN)/python -m benchmarks.whole_process
	$(BIN)/python -m benchmarks.evaluation
	$(BIN)/python -m benchmarks.augmentation
	$(BIN)/python -m benchmarks.training_memory

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

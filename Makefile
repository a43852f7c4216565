PYTHON ?= python3
BIN := .venv/bin
DATA := $(if $(FER_EDGE_DATA),--data $(FER_EDGE_DATA)/fer2013.zip)

.PHONY: demo test lint

demo: .venv/.demo  ## The main job on the carried model: export, build, bench.
	$(BIN)/fer-edge export --fp16 --int8 --out build/demo
	$(BIN)/fer-edge bench build/demo $(DATA) --plot build/demo.png

test: .venv/.dev  ## All tests.
	$(BIN)/pytest

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.demo: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable '.[export,plot,rtx]'
	touch $@

.venv/.dev: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

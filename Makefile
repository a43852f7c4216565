PYTHON ?= python3
LOCK ?=
# The oldest Python that pyproject.toml allows; the minimum versions have wheels for no newer one.
OLDEST ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python) python3.10)
BIN := .venv/bin
FLOORS := cli data engines evaluation pixels runtime test_artifact.py test_files.py test_metrics.py
DATA := $(if $(FER_EDGE_DATA),--data "$(FER_EDGE_DATA)/fer2013.zip")

.PHONY: demo test test-machines test-floors lint docs dist lock

demo: .venv/.demo  ## The main job on the carried model: export, build, bench.
	$(BIN)/fer-edge export --fp16 --int8 --out build/demo
	$(BIN)/fer-edge bench build/demo $(DATA) --plot build/demo.png

test: .venv/.dev  ## All tests, on as many cores as there are.
	$(BIN)/pytest --numprocesses auto --maxprocesses 8 --dist worksteal

test-machines: .venv/.dev  ## The carried model's answers on emulated processors.
	$(BIN)/pytest tests/machines -m machines -rs

test-floors: .venv-floors/.done  ## What a device runs, with the declared minimum versions.
	.venv-floors/bin/pytest -rs $(addprefix tests/,$(FLOORS))

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.dev  ## The site, in build/docs.
	$(BIN)/sphinx-build --quiet --fail-on-warning --builder html docs build/docs

dist: .venv/.dev  ## Wheel, sdist and bill of materials (CycloneDX), checked, in dist.
	rm -rf dist build/run
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv build/run
	build/run/bin/pip install --quiet dist/*.whl
	$(BIN)/cyclonedx-py environment --output-file dist/sbom.json build/run/bin/python
	build/run/bin/fer-edge doctor

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.demo: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable '.[export,plot,rtx]'
	touch $@

# With LOCK=requirements-ci.txt the versions are those of the lock file, by their hashes.
.venv/.dev: pyproject.toml $(LOCK) | .venv/bin/python
	$(if $(LOCK),$(BIN)/pip install --quiet --require-hashes --requirement $(LOCK))
	$(BIN)/pip install --quiet $(if $(LOCK),--no-deps) --editable '.[dev]'
	touch $@

lock:  ## The newest versions that fit, into the lock file of CI. Needs uv.
	uv pip compile pyproject.toml --extra dev --upgrade --generate-hashes --no-annotate --quiet \
		--python-version 3.11.7 --python-platform x86_64-manylinux_2_28 \
		--custom-compile-command 'make lock' --output-file requirements-ci.txt

.venv-floors/.done: pyproject.toml tests/floors.py
	$(OLDEST) -m venv --clear .venv-floors
	.venv-floors/bin/python tests/floors.py export openvino > .venv-floors/floors.txt
	.venv-floors/bin/pip install --quiet --editable '.[camera,plot]' --requirement .venv-floors/floors.txt \
		hypothesis packaging pytest
	touch $@

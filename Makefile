# make demo    explain a photograph with an ImageNet model, and say where the picture is
# make test    the whole test suite
# make lint    ruff and mypy
#
# Each makes .venv and installs into it first where pyproject.toml has changed since.

PYTHON      ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
PYTEST_ARGS ?= --numprocesses auto

bin   := .venv/bin
ready := .venv/ready-$(shell cksum < pyproject.toml | cut -d ' ' -f 1)

.PHONY: demo test lint clean
.DEFAULT_GOAL := test

demo: $(ready)
	$(bin)/python -m models.demo

# One thread a worker: torch would otherwise start as many as there are cores in each.
test: $(ready)
	OMP_NUM_THREADS=1 $(bin)/python -m pytest $(PYTEST_ARGS)

lint: $(ready)
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy

$(ready): pyproject.toml
	test -x $(bin)/python || $(PYTHON) -m venv .venv
	$(bin)/python -m pip install --disable-pip-version-check --quiet --editable '.[dev]'
	rm -f .venv/ready-* && touch $@

clean:
	rm -rf .venv demo tests/corpus/cache build dist

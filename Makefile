# `make run`: the default experiment, from an empty machine. `make test`: the tests. `make lint`: format, lint, types.
# `make test-hosts`: trainings over hosts that die, three minutes.
# `make test-lerobot`: those of policies of LeRobot's, in an environment of its own (6 GB), on Python 3.12 or 3.13.
# The newest Python that can be used: found, starting (a shim may not), and with what an environment needs.
USABLE = for name in python3.13 python3.12 python3.11; do \
	$$name -c 'import ensurepip, venv' 2>/dev/null && echo $$name && break; done
PYTHON := $(or $(PYTHON),$(shell $(USABLE)))
VENV := .venv
BIN := $(VENV)/bin
.PHONY: run test test-lerobot test-hosts lint clean

run: $(VENV)/.core
	$(BIN)/python -m experiments.run

test: $(VENV)/.dev
	$(BIN)/python -m pytest tests -n 2 --dist loadscope --no-loadscope-reorder

test-lerobot: .venv-lerobot/.dev
	.venv-lerobot/bin/python -m pytest tests/lerobot

test-hosts: $(VENV)/.dev
	$(BIN)/python -m pytest tests/experiments/hosts/training.py

lint: $(VENV)/.dev
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/pyright

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11, 3.12 or 3.13 is needed: sudo apt-get install -y python3.11 python3.11-venv (or make PYTHON=/path/to/python3.11 $(MAKECMDGOALS))"; exit 2; }
	@ldconfig -p | grep -q libEGL.so.1 || { echo "EGL is needed to draw without a screen: sudo apt-get install -y libegl1 libgl1"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml requirements.lock | $(VENV)/bin/python
	$(BIN)/pip install --quiet --constraint requirements.lock --editable .
	touch $@

$(VENV)/.dev: pyproject.toml requirements.lock | $(VENV)/bin/python
	$(BIN)/pip install --quiet --constraint requirements.lock --editable '.[torch,wan,vlm,ray,dev]'
	touch $@ $(VENV)/.core

.venv-lerobot/.dev: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' || { echo "LeRobot 0.6 needs Python 3.12 or 3.13: make PYTHON=/path/to/python3.12 test-lerobot"; exit 2; }
	$(PYTHON) -m venv .venv-lerobot
	.venv-lerobot/bin/pip install --quiet --editable '.[lerobot,dev]'
	touch $@

clean:
	rm -rf $(VENV) .venv-lerobot outputs

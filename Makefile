# `make run`: the default experiment, from an empty machine. `make test`: the tests. `make lint`: format, lint, types.
# `make audit`: every dependency's licence, and its known vulnerabilities, for which PyPI has to be reached.
# `make test-hosts`: trainings over hosts that die, ten minutes.
# `make test-lerobot`: those of policies of LeRobot's, in an environment of its own (6 GB), on Python 3.12 or 3.13.
# The newest Python that can be used: found, starting (a shim may not), and with what an environment needs.
USABLE = for name in python3.13 python3.12 python3.11; do \
	$$name -c 'import ensurepip, venv' 2>/dev/null && echo $$name && break; done
PYTHON := $(or $(PYTHON),$(shell $(USABLE)))
VENV := .venv
BIN := $(VENV)/bin
.PHONY: run test test-lerobot test-hosts lint audit clean

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
	$(BIN)/pip install --quiet --constraint requirements.lock --editable '.[torch,wan,vlm,ray,slurm,dev]'
	touch $@ $(VENV)/.core

.venv-lerobot/.dev: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' || { echo "LeRobot 0.6 needs Python 3.12 or 3.13: make PYTHON=/path/to/python3.12 test-lerobot"; exit 2; }
	$(PYTHON) -m venv .venv-lerobot
	.venv-lerobot/bin/pip install --quiet --editable '.[lerobot,dev]'
	touch $@

# Licences that a program built on this one would have to take over.
COPYLEFT := GNU General Public License (GPL);GNU General Public License v2 (GPLv2);GNU General Public License v2 or later (GPLv2+);$(strip \
	)GNU General Public License v3 (GPLv3);GNU General Public License v3 or later (GPLv3+);$(strip \
	)GNU Affero General Public License v3;GNU Affero General Public License v3 or later (AGPLv3+);$(strip \
	)GPL-2.0-only;GPL-2.0-or-later;GPL-3.0-only;GPL-3.0-or-later;AGPL-3.0-only;AGPL-3.0-or-later

audit: $(VENV)/.dev .venv-audit/.done
	.venv-audit/bin/pip-licenses --python $(BIN)/python --order license --fail-on "$(COPYLEFT)"
	.venv-audit/bin/pip-audit --strict --requirement requirements.lock --no-deps --disable-pip

.venv-audit/.done:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet pip-audit pip-licenses
	touch $@

clean:
	rm -rf $(VENV) .venv-lerobot .venv-audit outputs

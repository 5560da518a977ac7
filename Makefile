# serve, test, lint, train, bench: each sets up what it needs in .venv; nothing else on the machine is touched.
PYTHON ?= python3
RUNTIME ?= cpu
LOCK ?= $(RUNTIME)
# One runtime per environment: onnxruntime and onnxruntime-gpu overwrite each other.
VENV := .venv$(if $(filter cuda,$(RUNTIME)),-cuda)
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: serve setup clients browser test test-image lint format train bench sbom lock clean
.DELETE_ON_ERROR:

serve: $(VENV)/.service ## serve the bundled model on 127.0.0.1:8000 (OVATION_HOST, OVATION_PORT); leaves .venv/bin/ovation
	@exec $(BIN)/python -m service serve

setup: $(VENV)/.dev ## what training, benchmarks and tests need

clients: $(VENV)-clients/.clients ## other people's clients, which the tests try where they are there (needs npm, too)

browser: $(VENV)/.browser ## what the tests of the page drive a browser with (needs npm, and chromium on the PATH)

# In two processes, the tests of a file in one of them: they share costly fixtures.
test: lint ## format check, lint, types and all tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-image: ## build the image and try it in compose (needs Docker with BuildKit, and Compose)
	$(PYTHON) tests/image_smoke.py

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train: $(VENV)/.dev ## make the bundle that ships (DATA, TREEBANK and PRODUCTS=paths to the data sets)
	$(BIN)/python -m training release $(if $(DATA),--data $(DATA)) $(if $(TREEBANK),--treebank $(TREEBANK)) \
	    $(if $(PRODUCTS),--products $(PRODUCTS)) --out $(or $(OUT),runs/reviews-bilstm)

bench: $(VENV)/.dev ## measure everything in benchmarks/ (needs wrk; DATA=path to the archive, else made-up texts)
	$(BIN)/python -m benchmarks $(if $(DATA),--data $(DATA))

# The service's packages are those of the image; LOCK=training wants what `make setup` installs.
sbom: $(VENV)-sbom/.sbom $(VENV)/$(if $(filter-out $(RUNTIME),$(LOCK)),.dev,.service) ## what is installed and its licences, into build/sbom
	$(VENV)-sbom/bin/python requirements/sbom.py requirements/$(LOCK).txt build/sbom/$(LOCK).cdx.json --environment $(BIN)/python

lock:
	requirements/lock.sh

clean:
	rm -rf $(VENV) $(VENV)-clients $(VENV)-sbom tests/clients/node_modules tests/browser/node_modules ovation_sentiment.egg-info

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "Ovation needs Python 3.11 or newer; '$(PYTHON)' was not found (make PYTHON=/path/to/python3)." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Ovation needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1) (make PYTHON=/path/to/python3.11)." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the venv module: install it (Debian and Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# pip downloads what the two files lock, and nothing else: `ovation` is built here, by the setuptools that is locked.
$(VENV)/.service: requirements/$(RUNTIME).txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	$(PIP_INSTALL) --require-hashes -r requirements/$(RUNTIME).txt -r requirements/build.txt
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.service
	$(if $(TORCH_INDEX),$(PIP_INSTALL) --index-url $(TORCH_INDEX) "$$(grep ^torch== requirements/dev.txt)")
	$(PIP_INSTALL) -r requirements/dev.txt
	@touch $@

# Their dependencies clash with ours.
$(VENV)-clients/.clients: requirements/clients.txt tests/clients/package-lock.json
	@command -v npm >/dev/null || { echo "expected npm, which installs a client, found none: install Node.js 20 or newer" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)-clients
	$(VENV)-clients/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/clients.txt
	npm ci --silent --no-audit --no-fund --prefix tests/clients
	@touch $@

$(VENV)-sbom/.sbom: requirements/sbom.txt
	$(PYTHON) -m venv $(VENV)-sbom
	$(VENV)-sbom/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/sbom.txt
	@touch $@

$(VENV)/.browser: requirements/browser.txt tests/browser/package-lock.json $(VENV)/.dev
	@command -v npm >/dev/null || { echo "expected npm, which installs axe-core, found none: install Node.js 20 or newer" >&2; exit 1; }
	$(PIP_INSTALL) --require-hashes -r requirements/browser.txt
	npm ci --silent --no-audit --no-fund --prefix tests/browser
	@touch $@

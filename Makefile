# `make site` and `make test` work from a clean checkout; they set up what they need in .venv and frontend/node_modules.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs

.PHONY: help site serve quick test versions architectures lint bundle models bench screenshots clean

help: ## show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

site: .venv/site ## run the models and build example_site/ into example_site/site/
	$(MKDOCS) build --strict -f example_site/mkdocs.yml
	@echo "Open example_site/site/index.html in a browser, or serve the folder: python3 -m http.server -d example_site/site"

serve: .venv/site ## the same, served and rebuilt as you write
	$(MKDOCS) serve -f example_site/mkdocs.yml

quick: .venv/dev frontend/node_modules/.done ## the tests that need no browser, no other process and no torch: some 20 seconds
	$(BIN)/pytest --quick -q -r fE -n 2 --dist worksteal
	npm --prefix frontend test --silent

test: .venv/dev frontend/node_modules/.done site lint architectures ## every test: Python, TypeScript, browser
	$(BIN)/python tests/chromium.py
	npm --prefix frontend test --silent
	$(BIN)/pytest -n 4 --dist worksteal

versions: .venv/dev ## every host with the lowest and the newest versions, and by the commands of its page; part of `make test`
	$(BIN)/pytest -q tests/test_installed.py tests/test_host_pages.py

architectures: .venv/dev ## test every architecture of transformers, if what that depends on has changed
	$(BIN)/python tests/architectures.py

lint: .venv/dev frontend/node_modules/.done ## ruff, mypy, import-linter, tsc, biome
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	npm --prefix frontend run check --silent
	npm --prefix frontend run lint --silent

bundle: frontend/node_modules/.done ## rebuild the committed front end, mkdocs_attnviz/static/attnviz.js
	npm --prefix frontend run build --silent

models: .venv/site ## train the example site's own models anew
	$(BIN)/python example_site/models/induction/train.py
	$(BIN)/python example_site/models/dates/train.py
	$(BIN)/python example_site/models/en-de/train.py
	$(BIN)/python example_site/models/agreement/train.py
	$(BIN)/python example_site/models/reviews/train.py
	$(BIN)/python example_site/models/characters/train.py
	$(BIN)/python example_site/models/mixture/train.py
	$(BIN)/python example_site/models/sandwich/sweep.py

bench: .venv/bench ## side by side with BertViz; what a capture costs; bytes and speed of the coding
	$(BIN)/python benchmarks/vs_bertviz.py
	$(BIN)/python benchmarks/capture.py
	$(BIN)/python benchmarks/coding.py

screenshots: .venv/dev site ## every view, light and dark, wide and narrow, into screenshots/
	$(BIN)/python tests/chromium.py
	$(BIN)/python tests/screenshots.py

clean: ## forget everything that was built
	rm -rf .venv frontend/node_modules example_site/site example_site/.attnviz

.venv/bin/pip:
	$(PYTHON) -m venv .venv

.venv/site: .venv/bin/pip pyproject.toml constraints.txt
	@$(BIN)/pip uninstall --quiet --quiet --yes mkdocs-attnviz # the distribution's former name, in an older checkout
	$(PIP) -e '.[torch,explain,site]'
	@touch $@

.venv/dev: .venv/site
	$(PIP) -e '.[dev]'
	@touch $@

.venv/bench: .venv/dev
	$(PIP) -e '.[bench]'
	@touch $@

frontend/node_modules/.done: frontend/package-lock.json
	npm --prefix frontend ci --silent --no-fund --no-audit
	@touch $@

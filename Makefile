# The two commands of a newcomer: `make demo` and `make test`. Everything lives in .venv/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Not quiet: pip's own lines and bars say how far it is.
INSTALL := $(BIN)/pip install --disable-pip-version-check
# Processes of `make test`: for two cores, and one more since the tests on SLURM mostly wait.
WORKERS ?= 3

.PHONY: demo test lint format reference texts docs bench clean help
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# One stamp a requirement file: a changed pin installs again, nothing else does.
$(VENV)/run.stamp: envs/common.txt envs/cpu.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vramlab needs Python 3.11 or newer: set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	# torch first and by its exact version: nothing else may pull another build of it in.
	@echo "Installing torch (1 of 2; a few minutes on a slow line)"
	$(INSTALL) "$$(grep '^torch==' envs/cpu.txt)"
	@echo "Installing the other packages (2 of 2)"
	# With the command `vramlab`, of this checkout.
	$(INSTALL) -r envs/cpu.txt -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp envs/dev.txt
	$(INSTALL) -r envs/dev.txt
	@touch $@

$(VENV)/docs.stamp: $(VENV)/run.stamp envs/docs.txt
	$(INSTALL) -r envs/docs.txt
	@touch $@

demo: $(VENV)/run.stamp ## Run the whole pipeline on a made-up corpus, on two CPU cores, offline
	$(BIN)/snakemake --workflow-profile profiles/demo
	$(BIN)/snakemake --workflow-profile profiles/demo --report results/demo/report.html
	@echo
	@cat results/demo/report/answer.txt
	@echo "The report:  results/demo/report/index.html   (tables and figures beside it)"
	@echo "Snakemake's: results/demo/report.html"

test: $(VENV)/dev.stamp ## Run all tests that this machine can
	$(BIN)/python -m pytest -n $(WORKERS)

lint: $(VENV)/dev.stamp ## Check format, types, imports and the workflow
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile rules
	$(BIN)/mypy
	PYTHONPATH=src $(BIN)/lint-imports
	$(BIN)/snakemake --workflow-profile profiles/demo --lint

format: $(VENV)/dev.stamp ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/snakefmt Snakefile workflow/Snakefile rules

reference: $(VENV)/run.stamp ## Write the generated pages and schemas of config/ and docs/ anew
	PYTHONPATH=src $(BIN)/python -m vramlab.config.reference config
	PYTHONPATH=src $(BIN)/python -m vramlab.report.summary_schema docs
	PYTHONPATH=tests:src $(BIN)/python -m faults.page docs

# Languages of the report beside English; `make texts LANGUAGES=de` begins a new one.
LANGUAGES = $(basename $(notdir $(wildcard src/vramlab/report/locale/*.po)))
POT := $(VENV)/report.pot

texts: $(VENV)/run.stamp ## Bring the translations of the report in line with its texts
	$(BIN)/pybabel -q extract -F pyproject.toml --no-default-keywords -k say -k mark -k say_count:1,2 \
	  --no-location --no-wrap -o $(POT) src/vramlab/report
	@for code in $(LANGUAGES); do \
	  $(BIN)/pybabel update -i $(POT) -l $$code -o src/vramlab/report/locale/$$code.po --init-missing \
	    --ignore-obsolete --no-fuzzy-matching --ignore-pot-creation-date --no-wrap; \
	done

docs: $(VENV)/docs.stamp ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/dev.stamp ## Print the speed of filter, tokenizer and an up-to-date run
	PYTHONPATH=src $(BIN)/python benchmarks/run.py

clean: ## Remove the environment and the demo's results
	rm -rf $(VENV) results/demo

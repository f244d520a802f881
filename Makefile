# The short way to everything. Nothing has to be done first: each target brings what it needs.
# GNU make ends with 2 whatever its recipe returned; scripts that tell FAIL from INCONCLUSIVE call `python -m harness`.

# Make itself runs what «$$(shell …)» in a value says, and a shell what follows a «;». `value` takes a text as it was
# given, so that nothing of it has run when it is refused.
$(foreach name,SETTINGS PY ANY_PY ALL OTHERS DRILLS EVER IF_EVER STACK PLACE OF_MODEL OF_RUN IF_SET TIMES KEPT NEEDED SET_UP FAST \
	QUICK TEST_WORKERS SIDE_BY_SIDE NEWLINE QUOTES ACTED_ON REFUSE,$(if $(filter command override,$(origin $(name))),$(error \
	$(name)=$(value $(name)): found a variable of the Makefile's own, expected a setting that `make help` lists)))
SETTINGS := PYTHON RUNTIME ENGINE INSTANCE MODEL SCENARIO WORKERS ARGS C N SEED LANES FIX ACCEPT KEEP DAYS RUN GAME SPEED
define NEWLINE


endef
QUOTES   := ' "
ACTED_ON := ; & | < > ( ) $$ ` \ \#
REFUSE    = $(foreach mark,$(2),$(if $(findstring $(mark),$(value $(1))),$(error \
	$(1)=$(value $(1)): found $(mark), expected a value without $(2) (`.venv/bin/python -m harness` takes any)))) \
	$(if $(findstring $(NEWLINE),$(value $(1))),$(error $(1)=$(value $(1)): found a line break, expected one line))
$(foreach name,$(filter-out ARGS,$(SETTINGS)) MAKECMDGOALS,$(call REFUSE,$(name),$(ACTED_ON) $(QUOTES)))
$(call REFUSE,ARGS,$(ACTED_ON))
# Others are for the environment of what is started (TARGET=https://…): no shell reads them, but make expands them.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(call REFUSE,$(name),$$)))
PYTHON   ?= python3
RUNTIME  ?= auto
ENGINE   ?= vllm
INSTANCE ?= 0
MODEL    ?=
SCENARIO ?=
WORKERS  ?=
ARGS     ?=
C        ?=
N        ?=
SEED     ?=
LANES    ?=
FIX      ?=
ACCEPT   ?=
KEEP     ?=
DAYS     ?=
RUN      ?=
GAME     ?=
SPEED    ?=
# Not the environment's business: an exported variable of the same name would reach every component of the stack. After
# the defaults: what is not exported counts as set, and would have none.
unexport $(SETTINGS)

# Where it is set, each of the many processes compiles pandas or vLLM anew: seconds of every start, on all cores.
unexport PYTHONDONTWRITEBYTECODE

PY        := .venv/bin/python
# What was typed is checked before anything is downloaded, so by any Python while the harness has none of its own.
ANY_PY     = $(if $(wildcard $(PY)),$(PY),'$(PYTHON)')
ALL       := $(subst _,-,$(patsubst drills/%.py,%,$(filter-out %/__init__.py,$(wildcard drills/*.py))))
OTHERS    := $(filter-out %.external.yaml $(ALL:%=scenarios/%.yaml),$(wildcard scenarios/*.yaml))
DRILLS    := $(if $(filter drills,$(MAKECMDGOALS)),$(ALL)) $(patsubst drill-%,%,$(filter drill-%,$(MAKECMDGOALS)))
# A setting is one word; ARGS are several, quoted as in a shell.
STACK      = --runtime '$(RUNTIME)' --engine '$(ENGINE)' --instance '$(INSTANCE)'
PLACE      = --runtime '$(RUNTIME)' --instance '$(INSTANCE)'
OF_MODEL   = $(if $(MODEL),--model '$(MODEL)')
OF_RUN     = $(STACK) $(OF_MODEL) $(if $(SCENARIO),--scenario '$(SCENARIO)') $(if $(WORKERS),--workers '$(WORKERS)') \
	$(if $(SEED),--seed '$(SEED)') $(ARGS)
# What a suite decides unless somebody says otherwise.
IF_SET     = $(if $(filter command environment,$(firstword $(origin $(1)))),$(2) '$($(1))')
TIMES      = $(if $(N),-n '$(N)') $(if $(SEED),--seed '$(SEED)') $(if $(LANES),--lanes '$(LANES)')
KEPT       = $(if $(KEEP),--keep '$(KEEP)') $(if $(DAYS),--days '$(DAYS)')
# A dry run touches nothing, and needs nothing but the harness.
NEEDED    := settings .venv/.ready $(if $(findstring --dry-run,$(ARGS)),,planned setup)
SET_UP    := $(PY) -m stack.tools install
# Where neither is, nothing was ever started, and to say so needs no environment.
EVER      := $(wildcard .venv/.ready .state)
IF_EVER    = $(if $(EVER),$(PY) -m harness $(1),echo 'nothing runs: nothing was ever started from this checkout')
FAST      := tests/judge tests/unit tests/test_tidy.py
QUICK     := 'not realstack and not docker and not trust and not night'
# Most tests wait more than they compute. Files keep their order, so that those that wait for whole stacks come first and
# the short ones of units fill what is left. The drills run alone: they judge how late the load generator was.
TEST_WORKERS := 4
SIDE_BY_SIDE := -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder --ignore tests/drills

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help settings planned setup chromium up down status logs doctor drills nightly incident game-day prune lint types test-fast \
	check test test-trust storm stability bench test-docker test-drills clean night stability-real capacity load samples

help: ## this list
	@echo 'make drill-NAME   run a drill; the report is runs/latest/report.html. NAME is one of'
	@echo '                  $(ALL)'
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf 'make %-12s %s\n' "$$name" "$$text"; done
	@echo
	@echo 'Settings, with what they are now, and what they may be:'
	@echo '  ENGINE=$(ENGINE)  vllm, sim (the simulator: no vLLM, no models, a stack in ten seconds)'
	@echo '  RUNTIME=$(RUNTIME)  auto (docker if its daemon answers, else process), docker, process, external (docs/external.md)'
	@echo '  MODEL=$(MODEL)  v1 (if not set), v2, bad, slow, a folder, or a hub id; of an external target its own name for it'
	@echo '  SCENARIO=$(SCENARIO)  a file; if not set, scenarios/NAME.yaml. There are also $(OTHERS)'
	@echo '  INSTANCE=$(INSTANCE)  0 to 255: stacks side by side   WORKERS=$(WORKERS)  load processes   SEED=$(SEED)  of a drill, a storm, …'
	@echo '  ARGS=$(subst ','\'',$(ARGS))  options of `$(PY) -m harness`, such as "--set key=value" or --dry-run'
	@echo '  C=$(C)  component of logs   FIX=$(FIX)  1: doctor repairs   ACCEPT=$(ACCEPT)  1: capacity is accepted'
	@echo '  KEEP=$(KEEP)  DAYS=$(DAYS)  what prune leaves: so many runs of a scenario on a machine, none that is older'
	@echo '  RUN=$(RUN)  of incident, a run folder; of PROM, FROM, TO and others docs/incidents.md tells'
	@echo '  GAME=$(GAME)  SPEED=$(SPEED)  of game-day: bad-night, first-watch, release-day; 10: the waits between injects are shorter'
	@echo '  N=$(N)  LANES=$(LANES)  of storm, stability   PYTHON=$(PYTHON)  what .venv is made from'

# The environment of the harness. The script brings it up to date with the lock file, and is quick when it is.
.venv/.ready: requirements.lock stack/tools/bootstrap.py
	@'$(PYTHON)' stack/tools/bootstrap.py

settings:
	@$(ANY_PY) -m harness.cli.settings $(STACK) $(OF_MODEL) $(KEPT) $(DRILLS:%='%')

# What is wrong in ARGS or a scenario is told before minutes of set-up; a plan touches nothing.
planned: .venv/.ready
	@for name in $(DRILLS:%='%'); do $(PY) -m harness run "$$name" $(OF_RUN) --dry-run > /dev/null || exit; done

setup: settings .venv/.ready ## bring everything that a drill needs (RUNTIME, ENGINE); quick when it is there
	@$(SET_UP) --runtime '$(RUNTIME)' --engine '$(ENGINE)' $(OF_MODEL)

chromium: .venv/.ready ## bring headless Chromium and axe-core, which the tests look at pages with
	@$(PY) -m stack.tools chromium

up: setup ## start the stack and wait until it is ready
	@$(PY) -m harness up $(STACK) $(OF_MODEL) $(ARGS)

down status doctor: $(if $(EVER),.venv/.ready)

down: ## stop the stack of this INSTANCE
	@$(call IF_EVER,down $(PLACE) $(ARGS))

status: ## the stack's components, and how the gateways use the replicas
	@$(call IF_EVER,status $(PLACE) $(ARGS))

capacity: setup ## measure what the stack can carry on this machine; ACCEPT=1: load follows the new value
	@$(PY) -m harness capacity $(STACK) $(OF_MODEL) $(if $(ACCEPT),--accept) $(ARGS)

load: .venv/.ready ## a SCENARIO's load on the stack that runs, until Ctrl-C; ARGS="--rate 8/s --for 60s"
	@$(PY) -m harness load $(if $(SCENARIO),'$(SCENARIO)') $(PLACE) $(if $(WORKERS),--workers '$(WORKERS)') \
		$(if $(SEED),--seed '$(SEED)') $(ARGS)

logs: .venv/.ready ## the log of one component: make logs C=replica-1
	@$(PY) -m harness logs $(PLACE) $(ARGS) $(if $(C),'$(C)')

doctor: ## what earlier runs have left behind, on all instances; FIX=1 repairs it
	@$(call IF_EVER,doctor $(if $(FIX),--fix) $(ARGS))

drill-%: $(NEEDED)
	@$(PY) -m harness run '$*' $(OF_RUN)

drills: $(NEEDED) ## run every drill there is, one after the other
	@failed=; for name in $$($(PY) -m harness list --names); do \
		$(PY) -m harness run $$name $(OF_RUN) || failed="$$failed $$name"; done; \
	if [ -n "$$failed" ]; then echo "not passed:$$failed"; exit 1; fi

nightly: settings .venv/.ready ## the drills of a suite, one after the other (docs/nightly.md); ARGS=--resume goes on with one
	@$(PY) -m harness nightly $(call IF_SET,RUNTIME,--runtime) $(call IF_SET,ENGINE,--engine) \
		--instance '$(INSTANCE)' $(OF_MODEL) $(if $(SEED),--seed '$(SEED)') $(ARGS)

incident: .venv/.ready ## the report of an incident: RUN=runs/latest, or PROM=URL FROM=TIME TO=TIME (docs/incidents.md)
	@$(PY) -m harness incident $(if $(RUN),'$(RUN)') $(ARGS)

game-day: settings $(if $(findstring --dry-run,$(ARGS)),.venv/.ready,setup) ## a game for a team: GAME=first-watch (docs/game-day.md); ARGS=--scripted: a program plays
	@$(PY) -m harness game-day '$(or $(GAME),first-watch)' $(STACK) $(OF_MODEL) $(if $(SPEED),--speed '$(SPEED)') \
		$(if $(SEED),--seed '$(SEED)') $(ARGS)

prune: settings .venv/.ready ## remove runs beyond the newest KEEP of each scenario and machine, or older than DAYS
	@$(PY) -m harness prune $(KEPT) $(ARGS)

lint: .venv/.ready ## ruff: style and format
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: .venv/.ready ## mypy, strict
	@$(PY) -m mypy

test-fast: .venv/.ready ## unit tests and the rules of the house
	@$(PY) -m pytest -q -m 'not realstack and not trust' $(FAST) $(ARGS)

check: lint types test-fast ## what to run before every commit

test: .venv/.ready ## all tests but those on real vLLM: real gateways, toxiproxy and DNS around the simulator
	@$(SET_UP) --runtime process --engine sim
	@$(PY) -m pytest -q $(SIDE_BY_SIDE) -m $(QUICK) $(ARGS)
	@$(PY) -m pytest -q -m $(QUICK) $(ARGS) tests/drills

test-trust: .venv/.ready ## what a verdict and a heal are worth, in minutes: the harness is killed on purpose
	@$(SET_UP) --runtime process --engine sim
	@$(PY) -m pytest -q $(SIDE_BY_SIDE) -m 'trust and not night' $(ARGS)
	@$(PY) -m pytest -q -m 'trust and not night' $(ARGS) tests/drills

night: .venv/.ready ## hours: all of trust, defects switched on, storm, stability, every scenario in both runtimes
	@$(PY) -m tests.ci.night $(ARGS)

storm: .venv/.ready ## kill the harness N times, from SEED on, on LANES stacks side by side, and count what is left
	@$(SET_UP) --runtime process --engine sim
	@$(PY) -m tests.trust.storm $(TIMES)

stability: .venv/.ready ## drill a healthy simulated stack N times, from SEED on, and count what does not pass
	@$(SET_UP) --runtime process --engine sim
	@$(PY) -m tests.trust.stability $(TIMES)

bench: .venv/.ready ## what Drillyard's own parts cost, a row each (ARGS=observer for one); on an idle machine
	@$(SET_UP) --runtime process --engine sim
	@$(PY) -m benchmarks --instance '$(INSTANCE)' $(ARGS)

samples: .venv/.ready ## docs/samples: the reports of stored runs, as today's code draws them
	@$(PY) -m tests.samples

stability-real: ## six drills on real vLLM: quiet, and beside a light and a heavy disturber; hours, goes on where it was
	@$(MAKE) --no-print-directory setup ENGINE=vllm RUNTIME=process
	@$(PY) -m tests.trust.stability_real $(if $(N),-n '$(N)') --instance '$(INSTANCE)' $(ARGS)

test-docker: .venv/.ready ## the tests of the Docker runtime; the first time they build its images
	@$(SET_UP) --runtime process --engine sim
	@$(PY) -m pytest -m docker $(ARGS)

test-drills: ## the tests on real vLLM
	@$(MAKE) --no-print-directory setup ENGINE=vllm RUNTIME=process
	@$(PY) -m pytest -m realstack $(ARGS)

clean: ## remove everything that set-up and runs made (stacks have to be down), but not runs/
	@if [ -x $(PY) ]; then $(PY) -m harness down $(PLACE); fi
	rm -rf .venv .tools .state .mypy_cache .ruff_cache .pytest_cache .hypothesis

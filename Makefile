# smartsensor. `make` lists the targets. Needs Python 3.11, make and git; each target makes the environment that it needs.

# What is left empty is decided by smartsensor itself: its environment variables, else ./lake, duckdb and 3 days.
LAKE   ?=
ENGINE ?=
DAYS   ?=
RESET  ?=

bin         := .venv/bin
environment := .ci/python .ci/environment.py
lake         = $(if $(LAKE),--lake "$(LAKE)")

# A variable that the target does not take would be without effect, so it is refused; so is a switch that is neither on nor off.
takes_run := LAKE ENGINE DAYS RESET
takes_docs := LAKE
takes_lab := LAKE ARGS
takes_test := ONLY
takes_house := WRITE
takes_bench := ROWS ROUNDS
takes_kills := KILLS
takes_matrix := N SEED WRITE
takes_fuzz := MINUTES ONLY
takes_tables := ONLY LARGE SPARK
takes_apis := ONLY
takes_rehearse := FAULTS
takes_dist := CHECK
takes_spark := WINDOWS KEEP
takes_lock := UPDATE
taken   := PYTHON $(foreach target,$(MAKECMDGOALS),$(takes_$(target)))
given   := $(foreach name,LAKE ENGINE DAYS RESET $(filter-out MAKE% -%,$(.VARIABLES)),$(if $(filter command,$(origin $(name))),$(name)))
useless := $(sort $(filter-out $(taken),$(given)))
$(if $(useless),$(error $(useless): without effect on `make $(MAKECMDGOALS)`, which takes $(taken)))
$(foreach name,RESET CHECK UPDATE WRITE LARGE SPARK,$(if $(filter-out 0 1 yes no true false,$($(name))),$(error $(name)=$($(name)): say 1 or 0)))

.PHONY: help run docs lab test house bench tables apis kills faults fuzz late races dist spark spark41 rehearse prepare readme hooks lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  make run takes LAKE=folder (./lake), DAYS=n, RESET=1 (start over) and ENGINE=duckdb|spark"
	@echo "  make PYTHON=/path/to/python3.11 ... says which Python to use"

run: ## Run the whole pipeline against the simulator: check, extract, promote
	@$(environment) $(if $(filter spark,$(or $(ENGINE),$(SMARTSENSOR_ENGINE))),spark,run)
	@$(bin)/smartsensor run --simulate $(lake) $(if $(ENGINE),--engine "$(ENGINE)") \
	    $(if $(DAYS),--days "$(DAYS)") $(if $(filter 1 yes true,$(RESET)),--reset)

docs: ## Open the data-quality pages of the lake
	@$(environment) run
	@$(bin)/smartsensor docs $(lake)

lab: ## Open the notebooks in JupyterLab, on 127.0.0.1 only (ARGS="--no-browser" for JupyterLab itself)
	@$(environment) lab
	@$(bin)/smartsensor lab $(lake) $(if $(ARGS),-- $(ARGS))

test: ## Check everything that CI checks (ONLY="ruff mypy" for some of it)
	@$(environment) test
	@$(bin)/python .ci/check.py $(ONLY)

house: ## Draw floors and rooms of the package; fails where the house is broken (WRITE=1 puts the map into the index notebook)
	@.ci/python .ci/house.py $(if $(filter 1 yes true,$(WRITE)),--write)

bench: ## Measure extraction beside a bare script, landing of 1, 4 and 10 million rows, exports
	@$(environment) test
	@$(bin)/python tests/bench/extraction.py $(if $(ROWS),--rows $(ROWS)) $(if $(ROUNDS),--rounds $(ROUNDS))
	@$(bin)/python tests/bench/landing.py
	@$(bin)/python tests/bench/exports.py

kills: ## Kill runs at random points and compare with one that was never killed (KILLS=220)
	@$(environment) test
	@$(bin)/python tests/kills/kills.py $(if $(KILLS),--kills $(KILLS))
	@$(bin)/python tests/kills/exports_kills.py

tables: ## Prove what the tables promise: readers beside a killed writer, races, a month, sizes (ONLY="readers kills", LARGE=1, SPARK=1)
	@$(environment) test
	@$(bin)/python tests/tables $(if $(ONLY),--only $(ONLY)) $(if $(filter 1 yes true,$(LARGE)),--large) \
	    $(if $(filter 1 yes true,$(SPARK)),--spark)

apis: ## Read eight fake APIs the whole way, under faults and kills, and compare with their servers' truth (ONLY="stripe pi")
	@$(environment) test
	@$(bin)/python tests/apis $(if $(ONLY),--only $(ONLY))

matrix: ## Rates used; every fault alone and N random mixtures over real HTTP; fails where a row is lost, doubled or unreadable (N=500, SEED=0, WRITE=1)
	@$(environment) test
	@$(bin)/python tests/matrix $(if $(N),--n $(N)) $(if $(SEED),--seed $(SEED)) \
	    $(if $(filter 1 yes true,$(WRITE)),--write)

fuzz: ## Fuzz bodies, headers, cursors and export files, led by coverage; needs atheris (MINUTES=10 of each target, ONLY="csv bytes")
	@$(environment) test
	@$(bin)/python tests/fuzz $(if $(MINUTES),--minutes $(MINUTES)) $(if $(ONLY),--only $(ONLY))

faults: ## Every fault of an export against every format
	@$(environment) test
	@$(bin)/python tests/kills/exports_faults.py

late: ## Thirty days in which rows are indexed late: the miss that was predicted against the miss that was measured
	@$(environment) test
	@$(bin)/python tests/late/thirty_days.py

races: ## Let processes race for one ledger
	@$(environment) test
	@$(bin)/python tests/kills/races.py

rehearse: ## Deploy to an emulator on this machine by Terraform, run the pipeline there, play faults, destroy (FAULTS="twice down")
	@$(environment) test
	@$(bin)/python tests/rehearse $(if $(FAULTS),--faults $(FAULTS))

dist: ## Pack the wheel and all that AWS Glue 5.1 lacks into one zip (CHECK=1 installs them into a clean environment and runs jobs there)
	@$(environment) test
	@$(bin)/python .ci/dist.py $(if $(filter 1 yes true,$(CHECK)),--check)

spark: ## Run the three jobs by spark-submit, extract on executors, kill some; figures and exit codes (WINDOWS=1000, KEEP=folder)
	@$(environment) test
	@$(bin)/python tests/spark/figures.py $(if $(WINDOWS),--windows $(WINDOWS)) $(if $(KEEP),--keep "$(KEEP)")

spark41: ## Run the Spark tests on Spark 4.1, which AWS Glue 6.0 has
	@$(environment) test
	@$(bin)/python .ci/spark41.py

prepare: ## Make the modules and the README from the notebooks, and clean and format these, before a commit
	@$(environment) lab
	@$(bin)/ruff format --quiet .
	@$(bin)/nbdev_clean
	@$(bin)/nbdev_export
	@$(bin)/python .ci/house.py --write
	@$(bin)/python .ci/readme.py

readme: ## Make README.md from nbs/index.ipynb
	@$(environment) run
	@$(bin)/python .ci/readme.py

hooks: ## Let git check each commit (pre-commit, from the environment itself)
	@$(environment) test
	@$(bin)/pre-commit install

lock: ## Lock the dependencies and export the requirement files (UPDATE=1 for newer versions)
	@.ci/python .ci/lock.py

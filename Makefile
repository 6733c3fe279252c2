# make demo: the whole workflow on a small real data set. make test: the whole test suite. Both build .venv first.
PYTHON ?= python3
BIN := .venv/bin
# Python's compiled files are kept, and beside them what vqaflow found in its own source files: hundreds of processes
# need both.
export PYTHONDONTWRITEBYTECODE :=

# Jobs with the demo's model take 1.3 GB each, so three run at a time (gpu=3), however many cores there are.
# A killed run leaves Snakemake's locks behind. The file `demo` among them, which is removed with them, shows that they
# are the demo's; .venv/demo.lock, which its process holds, shows whether that run was killed. Other runs' locks stay.
.PHONY: demo test faults lint mutants lock clean

demo: .venv/ready
	@exec 9> .venv/demo.lock; flock --nonblock 9 || { echo "make demo is already running here" >&2; exit 1; }; \
	export PATH="$(CURDIR)/$(BIN):$$PATH"; locks=.snakemake/locks; \
	if [ -e $$locks/demo ]; then snakemake --unlock --quiet; fi; \
	mkdir -p $$locks; if [ -z "$$(ls -A $$locks)" ]; then : > $$locks/demo; fi; \
	snakemake --cores all --resources gpu=3; status=$$?; rm -f $$locks/demo; exit $$status

test: .venv/ready lint
	PATH="$(CURDIR)/$(BIN):$$PATH" OMP_NUM_THREADS=1 $(BIN)/python -m pytest \
		--numprocesses auto --dist loadfile --no-loadscope-reorder

# All faults, once, with at least KILLS kills (docs/reliability.md): half an hour on two cores. Damaged disks need root.
KILLS ?= 100
SEED ?= 1
faults: .venv/ready
	PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=.:workflow_scripts:tests/support OMP_NUM_THREADS=1 $(BIN)/python \
		-m tests.faults.campaign --kills $(KILLS) --seed $(SEED) $(FAULTS)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

# Of what pip says: the packages counted, the large files with their sizes, and what is not progress (errors go through).
define INSTALLED
/^Ignoring / { all--; next } \
/^(Collecting|Processing|Requirement already) / { if (n++ % 20 == 0) print "installing: package " n " of " all; fflush(); next } \
/^ *Downloading .*\([0-9.]+ (MB|GB)\)/ { if ($$0 ~ /\([0-9][0-9][0-9]+\.?[0-9]* MB\)|GB\)/) print "installing:" $$0; fflush(); next } \
/^Installing collected/ { print "installing: unpacking all " n ", which takes a minute or two"; fflush(); next } \
/^Successfully installed/ { print "installed: " n " packages in .venv"; fflush(); next } \
/^ *(Downloading|Using cached|Looking in|Attempting|Found existing|Uninstalling|Successfully uninstalled)/ { next } \
{ print; fflush() }
endef

# Do the tests notice wrong code? MUTANTS=N draws so many changes of the numeric core (docs/reliability.md has the score).
MUTANTS ?= 150
mutants: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutation/mutants.py --sample $(MUTANTS) --seed 0

# An unfinished environment has no .venv/ready and is made again from scratch.
.venv/ready: requirements.lock pyproject.toml
	rm -rf .venv
	$(PYTHON) -c 'import sys; sys.exit("vqaflow needs Python 3.11 or newer: make PYTHON=python3.12") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	@{ PYTHONUNBUFFERED=1 $(BIN)/python -m pip install --progress-bar off --disable-pip-version-check --require-hashes --no-deps \
		-r requirements.lock || touch .venv/failed; } | awk -v all=$$(grep -c '==' requirements.lock) '$(INSTALLED)'
	@test ! -e .venv/failed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch .venv/ready

# Resolve requirements.in again into pinned, hashed requirements without the address of any index. Then update
# envs/vqaflow.yaml by hand (tests/workflow/test_environments.py reports differences). KEEP=1 adds new packages and keeps
# the other pins.
lock:
	$(PYTHON) -m venv .lock-venv
	.lock-venv/bin/python -m pip install --quiet uv
	.lock-venv/bin/uv pip compile --quiet $(if $(KEEP),,--upgrade) --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header requirements.in --output-file requirements.lock
	rm -rf .lock-venv

clean:
	rm -rf results/* .snakemake

# make demo: the whole workflow on a small real data set. make test: the whole test suite. make kaggle, make colab: the
# workflow for a notebook there. All build .venv first.
PYTHON ?= python3
BIN := .venv/bin
# Python's compiled files are kept, and beside them what vqaflow found in its own source files: hundreds of processes
# need both.
export PYTHONDONTWRITEBYTECODE :=

# Jobs with the demo's model take 1.3 GB each, so three run at a time (gpu=3), however many cores there are.
# A killed run leaves Snakemake's locks behind. The file `demo` among them, which is removed with them, shows that they
# are the demo's; .venv/demo.lock, which its process holds, shows whether that run was killed. Other runs' locks stay.
.PHONY: demo test test-oldest faults lint mutants lock lock-kaggle lock-oldest lock-venv notebooks kaggle colab submit clean

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

# The core tests with the oldest versions that are supported (docs/versions.md); `make test` runs all with the newest.
CORE := tests/model/families/test_exactness.py tests/model/decoder/test_fused_decoder.py \
	tests/model/vision/test_fused_tower.py tests/training/test_training_step.py tests/training/test_train_adapter.py \
	tests/scoring/test_score_choices.py
test-oldest: .venv-oldest/ready
	PATH="$(CURDIR)/.venv-oldest/bin:$$PATH" OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES= .venv-oldest/bin/python -m pytest \
		--numprocesses auto --dist loadfile --no-loadscope-reorder $(CORE)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules workflow/Snakefile
	$(BIN)/snakemake --lint

# Of what pip says: the packages counted, the large files with their sizes, and what is not progress (errors go through).
define INSTALLED
/^Ignoring / { all--; next } \
/^(Collecting|Processing|Requirement already) / { if (n++ % 20 == 0) print "installing: package " n " of " all; fflush(); next } \
/^ *Downloading .*\([0-9.]+ (MB|GB)\)/ { if ($$0 ~ /\([0-9][0-9][0-9]+\.?[0-9]* MB\)|GB\)/) print "installing:" $$0; fflush(); next } \
/^Installing collected/ { print "installing: unpacking all " n ", which takes a minute or two"; fflush(); next } \
/^Successfully installed/ { print "installed: " n " packages"; fflush(); next } \
/^ *(Downloading|Using cached|Looking in|Attempting|Found existing|Uninstalling|Successfully uninstalled)/ { next } \
{ print; fflush() }
endef

# Do the tests notice wrong code? MUTANTS=N draws so many changes of the numeric core (docs/reliability.md has the score).
MUTANTS ?= 150
mutants: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutation/mutants.py --sample $(MUTANTS) --seed 0

# An unfinished environment has no file `ready` and is made again from scratch.
.venv/ready: requirements.lock
.venv-oldest/ready: requirements-oldest.lock
.venv/ready .venv-oldest/ready: %/ready: pyproject.toml
	rm -rf $*
	$(PYTHON) -c 'import sys; sys.exit("vqaflow needs Python 3.11 or newer: make PYTHON=python3.12") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $*
	@{ PYTHONUNBUFFERED=1 $*/bin/python -m pip install --progress-bar off --disable-pip-version-check --require-hashes --no-deps \
		-r $(filter %.lock,$^) || touch $*/failed; } | awk -v all=$$(grep -c '==' $(filter %.lock,$^)) '$(INSTALLED)'
	@test ! -e $*/failed
	$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

# Resolve requirements.in again into pinned, hashed requirements without the address of any index. Then update
# envs/vqaflow.yaml by hand (tests/workflow/test_environments.py reports differences). KEEP=1 adds new packages and keeps
# the other pins.
COMPILE = .lock-venv/bin/uv pip compile --quiet $(if $(KEEP),,--upgrade) --generate-hashes --no-python-downloads \
	--no-emit-index-url --no-annotate --no-header
lock: lock-venv
	$(COMPILE) --universal --python-version 3.11 requirements.in --output-file requirements.lock
	rm -rf .lock-venv

# The same within the versions of vqaflow/plan/doctor/supported.py (docs/versions.md): `kaggle` is for Kaggle's image and
# leaves out what stays as it is there, torch with all that comes with it; `oldest` is the oldest that vqaflow supports.
# requirements.in without its own pin of transformers is what the bounds narrow.
THERE := ^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==
LINUX := --python-platform x86_64-manylinux_2_28
BOUNDED = sed 's/^transformers==.*/transformers/' requirements.in | $(COMPILE) $(LINUX) \
	--constraints .lock-venv/bounds --output-file .lock-venv/all
lock-kaggle lock-oldest: lock-%: lock-venv
	PYTHONPATH=workflow_scripts $(PYTHON) -m vqaflow.plan.doctor.supported $* > .lock-venv/bounds
	if [ -e requirements-$*.lock ]; then cp requirements-$*.lock .lock-venv/all; fi
	$(BOUNDED) --python-version $(if $(filter kaggle,$*),3.12,3.11) - > /dev/null
	awk '/^[a-z]/ { out = "$*" == "kaggle" && /$(THERE)/ } !out' .lock-venv/all > requirements-$*.lock
	rm -rf .lock-venv

lock-venv:
	$(PYTHON) -m venv .lock-venv
	.lock-venv/bin/python -m pip install --quiet uv

# The notebooks of Kaggle and Colab, from notebooks/cells.py; and the folder to send there (docs/kaggle.md).
# make kaggle COMPETITION=name USER=you MODEL=owner/model/framework/variation/version CONFIG=my.yaml GOES_ON=1
KIT = PYTHONPATH=.:workflow_scripts $(BIN)/python -m notebooks.kit $@ $(if $(COMPETITION),--competition "$(COMPETITION)") \
	$(if $(MODEL),--model "$(MODEL)") $(if $(CONFIG),--config "$(CONFIG)")
notebooks: .venv/ready
	PYTHONPATH=. $(BIN)/python -m notebooks.cells

# USER counts only on the command line: shells set it to a name that is not Kaggle's.
kaggle: .venv/ready
	@$(KIT) $(if $(filter command%,$(origin USER)),--user "$(USER)") $(if $(GOES_ON),--goes-on)

colab: .venv/ready
	@$(KIT)

# Sends results/submission.csv, or FILE, to a competition after a check and a yes. No other target calls it.
submit: .venv/ready
	@PYTHONPATH=.:workflow_scripts $(BIN)/python -m notebooks.submit --competition "$(COMPETITION)" --message "$(MESSAGE)" \
		$(if $(FILE),--file "$(FILE)") $(if $(CONFIG),--config $(CONFIG)) $(if $(YES),--yes)

clean:
	rm -rf results/* .snakemake

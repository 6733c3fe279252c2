"""Helpers of all rules: the checked configuration, what is scored, and the digest of each rule's code.

Parsing reads no data. Snakemake compares params as text, so that keys are sorted: their order in a file means nothing.
"""

import os
import sys
import time
from pathlib import Path

SCRIPTS = Path(workflow.basedir) / "workflow_scripts"
# This process and all jobs take the package from beside this Snakefile, whichever one is installed.
sys.path.insert(0, str(SCRIPTS))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SCRIPTS), os.environ.get("PYTHONPATH")]))

from vqaflow.model.base_digest import base_digest
from vqaflow.runtime.code_digest import code_digest
from vqaflow.config.sections import BaseConfig, HpoConfig, ModelConfig, entries, section
from vqaflow.config.loading import in_order
from vqaflow.config.check import check_config, check_files
from vqaflow.runtime.errors import UserError


try:
    check_config(config, Path(workflow.basedir) / "schemas" / "config.schema.yaml")
    check_files(config, Path("results"))
except UserError as error:
    raise SystemExit(f"error: {error}") from None

config = in_order(config)

STARTED = time.time()
HELP = """Targets, of your own data: snakemake --configfile my.yaml -- TARGET
  (none)                                 everything that is stale, to results/submission.validated.json
  results/tables/train.parquet           check the tables and the images
  results/eda/summary.json               figures of what the data look like
  results/folds.parquet                  leak-free folds
  results/base.json                      the base model, quantised once for all jobs
  results/hpo/best.yaml                  better parameters of training, while hpo.enabled
  results/adapters/fold0                 one fold's adapter
  results/scores/test/fold0/hflip.parquet  one fold's scores of one view
  results/evaluation/metrics.json        accuracy with its interval, and why
  results/submission.csv                 the file to hand in
After a run: snakemake --configfile my.yaml --report results/report.html   everything in one page"""
FOLDS = range(config["folds"]["n"])
BASE = base_digest(section(ModelConfig, config["model"]))
WORKERS = range(config["hpo"]["workers"])
STORED_BASE = [] if config["model"]["quantization"] == "none" else "results/base.json"
VIEWS = [name for name, view in config["views"].items() if view.get("enabled", True)]


wildcard_constraints:
    fold=r"\d+",
    split="oof|test",
    view="|".join(VIEWS),
    worker=r"\d+",


def code_of(rule_name):
    """The digest of a rule's script and of all that it imports from the package."""
    return code_digest(SCRIPTS / f"{rule_name}.py")


def image_root_of(wildcards):
    """The folder of the images, which is the user's and no output of ours."""
    return lookup(dpath="data/image_root", within=config)


def best_of(wildcards):
    """What a search has found, for the trainings to take; nothing unless hpo.enabled."""
    return "results/hpo/best.yaml" if config["hpo"]["enabled"] else []


def view_of(wildcards):
    """How a view renders the image; whether it is scored at all is no property of its scores."""
    return {key: value for key, value in config["views"][wildcards.view].items() if key != "enabled"}


def table_of(wildcards):
    """The table whose rows a split scores."""
    return f"results/tables/{'train' if wildcards.split == 'oof' else 'test'}.parquet"


def folds_of(wildcards):
    """OOF scores need the folds; test rows belong to none."""
    return "results/folds.parquet" if wildcards.split == "oof" else []


def margins_of(wildcards):
    """The original view's scores, for a view that is scored only where they are close."""
    if config["views"][wildcards.view].get("when"):
        return f"results/scores/{wildcards.split}/fold{wildcards.fold}/original.parquet"
    return []


def tell_errors():
    """Repeat what stopped the run, below Snakemake's own last lines: the stages' messages, or where they are told."""
    from vqaflow.reporting.closing_line import error_lines

    print("", *error_lines(Path("results/logs"), STARTED), sep="\n", file=sys.stderr)


def tell_result():
    """Say what came out, below Snakemake's own last lines."""
    from vqaflow.reporting.closing_line import closing_line  # its statistics need not load for a dry run

    print(closing_line(Path("results"), STARTED))

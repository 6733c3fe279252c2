"""Helpers of all rules: the checked configuration, what is scored, and the digest of each rule's code.

Parsing reads no data. Snakemake compares params as text, so keys are sorted: their order in a file means nothing.
"""

import os
import sys
import time
from pathlib import Path

SCRIPTS = Path(workflow.basedir) / "workflow_scripts"
# This process and all jobs use the package beside this Snakefile, even if another one is installed.
sys.path.insert(0, str(SCRIPTS))
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [str(SCRIPTS), os.environ.get("PYTHONPATH")])))

from vqaflow.data.images.visual_tokens import token_pixels
from vqaflow.model.base_digest import base_digest
from vqaflow.model.checkpoint import base_problems
from vqaflow.runtime.code_digest import code_digest
from vqaflow.config.sections import BaseConfig, HpoConfig, ModelConfig, entries, section
from vqaflow.config.loading import in_order
from vqaflow.config.check import check_config, check_files
from vqaflow.runtime.errors import UserError

try:
    check_config(config, Path(workflow.basedir) / "schemas" / "config.schema.yaml")
    check_files(config, Path("results"), base_problems(config["model"]["base"]))
except UserError as error:
    raise SystemExit(f"error: {error}") from None

config = in_order(config)

STARTED = time.time()
HELP = """Targets, with your own data: snakemake --configfile my.yaml -- TARGET
  (none)                                 everything out of date, up to results/submission.validated.json
  results/tables/train.parquet           check the tables and the images
  results/eda/summary.json               figures of what the data look like
  results/folds.parquet                  leak-free folds
  results/base.json                      the base model, quantised once for all jobs
  results/hpo/best.yaml                  better training parameters, if hpo.enabled
  results/adapters/fold0                 the adapter of one fold
  results/scores/test/fold0/hflip.parquet  the scores of one fold and view
  results/evaluation/metrics.json        accuracy with its interval, overall and in parts
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
    """The digest of the code that a rule's results depend on: its script and what it imports from the package."""
    return code_digest(SCRIPTS / f"{rule_name}.py")


def image_root_of(wildcards):
    """The folder of the images, which belongs to the user and is not an output of the workflow."""
    return lookup(dpath="data/image_root", within=config)


def best_of(wildcards):
    """The best parameters of a search, which the trainings use; nothing unless hpo.enabled."""
    return "results/hpo/best.yaml" if config["hpo"]["enabled"] else []


def view_of(wildcards):
    """How a view renders the image. Whether it is enabled is left out, because its scores do not depend on it."""
    return {key: value for key, value in config["views"][wildcards.view].items() if key != "enabled"}


def table_of(wildcards):
    """The table whose rows are scored for a split."""
    return f"results/tables/{'train' if wildcards.split == 'oof' else 'test'}.parquet"


def folds_of(wildcards):
    """OOF scores need the folds; test rows belong to no fold."""
    return "results/folds.parquet" if wildcards.split == "oof" else []


def margins_of(wildcards):
    """The scores of the original view, for a view that is scored only where these are close."""
    if config["views"][wildcards.view].get("when"):
        return f"results/scores/{wildcards.split}/fold{wildcards.fold}/original.parquet"
    return []


def print_errors():
    """Repeat what stopped the run, below Snakemake's last lines: the messages of the stages, or where to find them."""
    from vqaflow.reporting.closing_line import error_lines

    print("", *error_lines(Path("results/logs"), STARTED), sep="\n", file=sys.stderr)


def print_result():
    """Say what came out, below Snakemake's own last lines."""
    from vqaflow.reporting.closing_line import closing_line  # a dry run need not load its statistics

    print(closing_line(Path("results"), STARTED))

"""vqaflow: from a table of images, questions and choices to a validated submission.

`snakemake help` lists the targets.
"""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


if not Path("config.yaml").is_file():
    raise SystemExit(
        f"error: {Path.cwd()}: there is no config.yaml here. "
        f"Run snakemake in the folder of the workflow, {workflow.basedir}, without --directory."
    )


configfile: "config.yaml"


if (config.get("hardware") or {}).get("settings"):  # a profile's keys: over config.yaml, under --configfile

    configfile: config["hardware"]["settings"]


include: "rules/common.smk"
include: "rules/prepare_demo.smk"
include: "rules/data.smk"
include: "rules/store_base.smk"
include: "rules/hpo.smk"
include: "rules/train_adapter.smk"
include: "rules/score_choices.smk"
include: "rules/ensemble.smk"
include: "rules/submission.smk"
include: "rules/runs.smk"
include: "rules/run.smk"


report: "docs/captions/workflow.rst"


localrules:
    all,
    help,
    plan,


rule all:
    default_target: True
    input:
        "results/submission.validated.json",
        "results/evaluation/metrics.json",
        "results/answers/test_answers.html",
        "results/eda/summary.json",
        RUNS_PAGE,


rule plan:
    log:
        "results/logs/plan.log",
    conda:
        "envs/vqaflow.yaml"
    params:
        config=config,
    message:
        "The memory and the hours of the whole run"
    script:
        "workflow_scripts/plan.py"


rule help:
    message:
        "{HELP}"


onsuccess:
    print_result()


onerror:
    print_errors()

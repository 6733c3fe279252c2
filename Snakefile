"""vqaflow: from a table of images, questions and choices to a validated submission.

`snakemake help` lists the targets.
"""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


include: "rules/checkout.smk"


configfile: str(CHECKOUT / "config.yaml")


if Path("config.yaml").is_file() and not Path("config.yaml").samefile(CHECKOUT / "config.yaml"):  # with --directory

    configfile: "config.yaml"


SETTINGS = (config.get("hardware") or {}).get("settings")  # a profile's keys: over config.yaml, under --configfile

if SETTINGS:

    configfile: SETTINGS if Path(SETTINGS).is_file() or not (CHECKOUT / SETTINGS).is_file() else str(CHECKOUT / SETTINGS)


include: "rules/common.smk"


# An image of the Dockerfile, for --sdm apptainer and for jobs in a cloud. Rules that come before it would
# run without it.
if os.environ.get(IMAGE):

    containerized: os.environ[IMAGE]


include: "rules/prepare_demo.smk"
include: "rules/data.smk"
include: "rules/store_base.smk"
include: "rules/hpo.smk"
include: "rules/train_adapter.smk"
include: "rules/score_choices.smk"
include: "rules/merge_adapter.smk"
include: "rules/ensemble.smk"
include: "rules/submission.smk"
include: "rules/zero_shot.smk"
include: "rules/runs.smk"
include: "rules/run.smk"


report: "docs/captions/workflow.rst"


GOALS = [
    "results/submission.validated.json",
    "results/evaluation/metrics.json",
    "results/answers/test_answers.html",
    "results/eda/summary.json",
    *RUNS_PAGE,
]


rule all:
    default_target: True
    input:
        GOALS,
    localrule: True


rule zero_shot:
    input:
        zero_shot_files,
    localrule: True
    message:
        "Written before any training: {input}"


rule merged:
    input:
        merged_files,
    localrule: True
    message:
        "Checkpoints for other programs: {input}"


rule plan:
    log:
        "results/logs/plan.log",
    localrule: True
    conda:
        "envs/vqaflow.yaml"
    params:
        config=config,
        results=str(RESULTS.folder),
    message:
        "The memory and the hours of the whole run"
    script:
        "workflow_scripts/plan.py"


rule help:
    localrule: True
    message:
        "{HELP}"


onstart:
    prepare_folder()


onsuccess:
    print_result()


onerror:
    print_errors()

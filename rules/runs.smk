"""The current run beside those that `vqaflow runs keep NAME` has kept.

In:  the ensemble and its evaluation, the tables, the folds; results/runs/*/manifest.json
Out: results/runs.html

Part of the DAG only if results/runs has a kept run when the workflow starts.
"""

KEPT_RUNS = [
    f"results/runs/{path.parent.name}/{path.name}" for path in sorted(RESULTS.folder.glob("runs/[!.]*/manifest.json"))
]
RUNS_PAGE = ["results/runs.html"] if KEPT_RUNS else []


rule compare_runs:
    input:
        oof="results/ensemble/oof.parquet",
        test="results/ensemble/test.parquet",
        metrics="results/evaluation/metrics.json",
        train_table="results/tables/train.parquet",
        folds="results/folds.parquet",
        submission="results/submission.csv",
        kept=KEPT_RUNS,
    output:
        page=report(
            "results/runs.html",
            caption="../docs/captions/runs.rst",
            category="6 Runs",
            labels={"page": "kept runs"},
        ),
    log:
        "results/logs/compare_runs.log",
    conda:
        "../envs/vqaflow.yaml"
    params:
        code=code_of("compare_runs"),
    message:
        "Comparing with the kept runs"
    script:
        "../workflow_scripts/compare_runs.py"

"""The file to hand in, and the proof that it is complete.

In:  results/ensemble/test.parquet, data.sample_submission, results/tables/test.parquet, results/tables/labels.json
Out: results/submission.csv, results/submission.validated.json
"""


rule write_submission:
    input:
        test="results/ensemble/test.parquet",
        sample_submission=lookup(dpath="data/sample_submission", within=config),
        test_table="results/tables/test.parquet",
        labels="results/tables/labels.json",
    output:
        submission=ensure("results/submission.csv", non_empty=True),
    log:
        "results/logs/write_submission.log",
    conda:
        "../envs/vqaflow.yaml"
    params:
        code=code_of("write_submission"),
    message:
        "Writing the submission"
    script:
        "../workflow_scripts/write_submission.py"


rule validate_submission:
    input:
        submission="results/submission.csv",
        sample_submission=lookup(dpath="data/sample_submission", within=config),
        test_table="results/tables/test.parquet",
        labels="results/tables/labels.json",
        metrics="results/evaluation/metrics.json",
    output:
        validated="results/submission.validated.json",
    log:
        "results/logs/validate_submission.log",
    conda:
        "../envs/vqaflow.yaml"
    params:
        code=code_of("validate_submission"),
    message:
        "Checking the submission against the sample and the test table"
    script:
        "../workflow_scripts/validate_submission.py"

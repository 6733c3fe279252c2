"""The file to hand in, the proof that it is complete, and its answers with their pictures.

In:  results/ensemble/test.parquet, data.sample_submission, results/tables/test.parquet, results/tables/labels.json,
     and for the gallery what the members say of the test rows, and the images
Out: results/submission.csv, results/submission.validated.json
     results/answers/: test_answers.html, and an excerpt for Snakemake's report
"""


rule write_submission:
    input:
        test="results/ensemble/test.parquet",
        sample_submission=given(lookup(dpath="data/sample_submission", within=config)),
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
    # A file that was edited by hand is not validated: the accuracy is that of the ensemble's answers.
    input:
        submission="results/submission.csv",
        test="results/ensemble/test.parquet",
        sample_submission=given(lookup(dpath="data/sample_submission", within=config)),
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


rule show_answers:
    input:
        test="results/ensemble/test.parquet",
        test_table="results/tables/test.parquet",
        submission="results/submission.csv",
        notes=NOTES,
        members=expand("results/members/{member}/test.parquet", member=MEMBERS),
        views=TEST_VIEWS,
        scores=[path for member in MEMBERS for path in score_files_of(member, splits=["test"])],
    output:
        page="results/answers/test_answers.html",
        excerpt=report(
            "results/answers/test_answers_excerpt.html",
            caption="../docs/captions/test_answers.rst",
            category="4 Answers",
            labels={"page": "test answers, least certain first"},
        ),
    log:
        "results/logs/show_answers.log",
    conda:
        "../envs/vqaflow.yaml"
    params:
        code=code_of("show_answers"),
    message:
        "Showing the test answers"
    script:
        "../workflow_scripts/show_answers.py"

"""A first submission before anything is trained, from the untuned members (`train: none`).

In:  results/scores/{member}/test/foldbase/, data.sample_submission, results/tables/{test.parquet,labels.json}
Out: results/zero_shot/{member}.csv to hand in, and {member}.parquet with its probabilities

Part of the DAG only if it is asked for: `snakemake --configfile my.yaml -- zero_shot`.
"""


rule answer_zero_shot:
    input:
        scores=lambda wildcards: score_files_of(wildcards.member, splits=["test"]),
        test_table="results/tables/test.parquet",
        sample_submission=given(lookup(dpath="data/sample_submission", within=config)),
        labels="results/tables/labels.json",
    output:
        submission=ensure("results/zero_shot/{member}.csv", non_empty=True),
        probabilities="results/zero_shot/{member}.parquet",
    log:
        "results/logs/answer_zero_shot/{member}.log",
    wildcard_constraints:
        member="|".join(UNTUNED_MEMBERS) or "none",
    conda:
        "../envs/vqaflow.yaml"
    params:
        **named("ensemble.order_pooling", config["ensemble"]["order_pooling"]),
        **named("main", main_of, [""], shown="the view that training renders"),
        code=code_of("answer_zero_shot"),
    message:
        "Writing the first submission of {wildcards.member}"
    script:
        "../workflow_scripts/answer_zero_shot.py"

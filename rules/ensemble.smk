"""From scores to probabilities, and how good these are.

In:  results/scores/, files of members that someone else has made, the tables, the folds
Out: results/members/{member}/: {oof,test}.parquet, the same by view, member.json
     results/ensemble/: {oof,test}.parquet, recipe.json
     results/evaluation/: metrics.json, summary.html, *.png, mistakes.html, picks.html
"""

NOTES = expand("results/members/{member}/member.json", member=MEMBERS)
OOF_VIEWS = expand("results/members/{member}/oof_views.parquet", member=MEMBERS)
TEST_VIEWS = expand("results/members/{member}/test_views.parquet", member=MEMBERS)


rule pool_member:
    input:
        scores=scores_of,
        records=records_of,
        files=files_of,
        train="results/tables/train.parquet",
        test="results/tables/test.parquet",
        problems="results/tables/problems.csv",
        folds="results/folds.parquet",
    output:
        oof="results/members/{member}/oof.parquet",
        test="results/members/{member}/test.parquet",
        oof_views="results/members/{member}/oof_views.parquet",
        test_views="results/members/{member}/test_views.parquet",
        note="results/members/{member}/member.json",
    log:
        "results/logs/pool_member/{member}.log",
    conda:
        "../envs/vqaflow.yaml"
    params:
        **named("about", told_of_member, [member.describe() for member in MEMBERS.values()], shown=""),
        **named("ensemble.order_pooling", config["ensemble"]["order_pooling"]),
        code=code_of("pool_member"),
    message:
        "Pooling the scores of {wildcards.member}"
    script:
        "../workflow_scripts/pool_member.py"


rule ensemble_probabilities:
    input:
        notes=NOTES,
        oof_views=OOF_VIEWS,
        test_views=TEST_VIEWS,
        train="results/tables/train.parquet",
        test="results/tables/test.parquet",
        folds="results/folds.parquet",
    output:
        oof="results/ensemble/oof.parquet",
        test="results/ensemble/test.parquet",
        recipe="results/ensemble/recipe.json",
    log:
        "results/logs/ensemble_probabilities.log",
    conda:
        "../envs/vqaflow.yaml"
    params:
        **named("ensemble", entries(EnsembleConfig, config["ensemble"])),
        code=code_of("ensemble_probabilities"),
    message:
        "Pooling the members into probabilities"
    script:
        "../workflow_scripts/ensemble_probabilities.py"


rule evaluate_oof:
    input:
        oof="results/ensemble/oof.parquet",
        test="results/ensemble/test.parquet",
        recipe="results/ensemble/recipe.json",
        notes=NOTES,
        members=expand("results/members/{member}/{split}.parquet", member=MEMBERS, split=["oof", "test"]),
        views=OOF_VIEWS + TEST_VIEWS,
        scores=[path for member in MEMBERS for path in score_files_of(member, splits=["oof"], blind=True)],
        train_table="results/tables/train.parquet",
        test_table="results/tables/test.parquet",
        folds="results/folds.parquet",
        histories=[
            f"results/adapters/{member.name}/fold{part}/log.csv"
            for member in TRAINED
            for part in member.trained_parts(len(FOLDS))
        ],
        runs=[
            f"results/adapters/{member.name}/fold{part}/run.json"
            for member in TRAINED
            for part in member.trained_parts(len(FOLDS))
        ],
        searches=[f"results/hpo/{member.name}/best.yaml" for member in TRAINED if config["hpo"]["enabled"]],
    output:
        # The folder is replaced as a whole. The files in it are what other rules depend on: only files have checksums.
        folder=report(
            directory("results/evaluation"),
            patterns=["{figure}.png"],
            caption="../docs/captions/evaluation.rst",
            category="3 Evaluation",
            labels={"figure": "{figure}"},
        ),
        metrics="results/evaluation/metrics.json",
        summary=report(
            "results/evaluation/summary.html",
            caption="../docs/captions/summary.rst",
            category="0 Summary",
            labels={"page": "accuracy, baselines and measures"},
        ),
        mistakes="results/evaluation/mistakes.html",
        excerpt=report(
            "results/evaluation/mistakes_excerpt.html",
            caption="../docs/captions/mistakes.rst",
            category="4 Answers",
            labels={"page": "wrong OOF answers"},
        ),
        picks=report(
            "results/evaluation/picks.html",
            caption="../docs/captions/picks.rst",
            category="5 Final picks",
            labels={"page": "files to select"},
        ),
    log:
        "results/logs/evaluate_oof.log",
    conda:
        "../envs/vqaflow.yaml"
    params:
        code=code_of("evaluate_oof"),
    message:
        "Measuring accuracy on rows that no adapter has seen"
    script:
        "../workflow_scripts/evaluate_oof.py"

"""From scores to probabilities, and how good these are.

In:  results/scores/, the tables, the folds
Out: results/ensemble/{oof,test}.parquet, recipe.json; results/evaluation/: metrics.json, *.png, mistakes.html
"""


rule ensemble_probabilities:
    input:
        scores=expand(
            "results/scores/{split}/fold{fold}/{view}.parquet",
            split=["oof", "test"],
            fold=FOLDS,
            view=VIEWS,
        ),
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
        ensemble=lookup(dpath="ensemble", within=config),
        code=code_of("ensemble_probabilities"),
    message:
        "Pooling the scores into probabilities"
    script:
        "../workflow_scripts/ensemble_probabilities.py"


rule evaluate_oof:
    input:
        oof="results/ensemble/oof.parquet",
        test="results/ensemble/test.parquet",
        recipe="results/ensemble/recipe.json",
        scores=rules.ensemble_probabilities.input.scores,
        train_table="results/tables/train.parquet",
        test_table="results/tables/test.parquet",
        folds="results/folds.parquet",
        histories=expand("results/adapters/fold{fold}/log.csv", fold=FOLDS),
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
        mistakes="results/evaluation/mistakes.html",
        excerpt=report(
            "results/evaluation/mistakes_excerpt.html",
            caption="../docs/captions/mistakes.rst",
            category="4 Mistakes",
            labels={"page": "wrong answers"},
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

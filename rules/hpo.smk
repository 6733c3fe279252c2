"""The search for better training parameters, if hpo.enabled.

In:  results/tables/train.parquet, results/folds.parquet, the base model
Out: results/hpo/: best.yaml (which train_adapter then uses), study.db for optuna-dashboard, figures

The workers share a study in results/work/hpo, which Snakemake never deletes: a search resumes where it was stopped, and
more trials or more time are added to the existing ones.
"""


rule run_trials:
    input:
        table="results/tables/train.parquet",
        folds="results/folds.parquet",
        stored_base=STORED_BASE,
    output:
        trials="results/hpo/workers/worker{worker}.json",
    log:
        "results/logs/run_trials/worker{worker}.log",
    benchmark:
        "results/benchmarks/run_trials/worker{worker}.tsv"
    conda:
        "../envs/vqaflow.yaml"
    threads: 1
    resources:
        gpu=1,
    params:
        base=BASE,
        model=lookup(dpath="model", within=config),
        prompt=lookup(dpath="prompt", within=config),
        train=lookup(dpath="train", within=config),
        hpo=entries(HpoConfig, config["hpo"]),
        code=code_of("run_trials"),
    message:
        "Trying training parameters, worker {wildcards.worker}"
    script:
        "../workflow_scripts/run_trials.py"


rule search_hyperparameters:
    input:
        workers=expand("results/hpo/workers/worker{worker}.json", worker=WORKERS),
    output:
        best="results/hpo/best.yaml",
        study="results/hpo/study.db",
        figures=report(
            directory("results/hpo/figures"),
            patterns=["{figure}.html", "{figure}.png"],
            caption="../docs/captions/search.rst",
            category="2 Training",
            subcategory="Hyper-parameter search",
            labels={"figure": "{figure}"},
        ),
    log:
        "results/logs/search_hyperparameters.log",
    conda:
        "../envs/vqaflow.yaml"
    params:
        trials=lookup(dpath="hpo/trials", within=config),
        code=code_of("search_hyperparameters"),
    message:
        "Choosing the best training parameters"
    script:
        "../workflow_scripts/search_hyperparameters.py"

"""The search for better training parameters of each member that trains, if hpo.enabled.

In:  results/tables/train.parquet, results/folds.parquet, the base model; what the teacher says, as for train_adapter
Out: results/hpo/{member}/: best.yaml (which train_adapter then uses), study.db for optuna-dashboard, figures

The workers share a study in results/work/hpo/{member}, which Snakemake never deletes: a search resumes where it was
stopped, and more trials or more time are added to the existing ones.
"""


rule run_trials:
    input:
        table="results/tables/train.parquet",
        folds="results/folds.parquet",
        teacher=teacher_of,
        stored_base=stored_base_of,
    output:
        trials="results/hpo/{member}/workers/worker{worker}.json",
    log:
        "results/logs/run_trials/{member}.worker{worker}.log",
    benchmark:
        "results/benchmarks/run_trials/{member}.worker{worker}.tsv"
    conda:
        "../envs/vqaflow.yaml"
    threads: 1
    resources:
        gpu=1,
    params:
        **not_compared(results=str(RESULTS.folder)),
        **named_base(),
        **named_model(),
        **named_prompt(),
        **named_train(),
        **named("answers", entries(AnswersConfig, config["data"]), shown="data"),
        **named_view(trained_view_of),
        **named("hpo", entries(HpoConfig, config["hpo"])),
        code=code_of("run_trials"),
    message:
        "Trying training parameters of {wildcards.member}, worker {wildcards.worker}"
    script:
        "../workflow_scripts/run_trials.py"


rule search_hyperparameters:
    input:
        workers=expand("results/hpo/{{member}}/workers/worker{worker}.json", worker=WORKERS),
    output:
        best="results/hpo/{member}/best.yaml",
        study="results/hpo/{member}/study.db",
        figures=report(
            directory("results/hpo/{member}/figures"),
            patterns=["{figure}.html", "{figure}.png"],
            caption="../docs/captions/search.rst",
            category="2 Training",
            subcategory="Hyper-parameter search",
            labels={"member": "{member}", "figure": "{figure}"},
        ),
    log:
        "results/logs/search_hyperparameters/{member}.log",
    conda:
        "../envs/vqaflow.yaml"
    params:
        **not_compared(results=str(RESULTS.folder)),
        **named("hpo.trials", config["hpo"]["trials"]),
        code=code_of("search_hyperparameters"),
    message:
        "Choosing the best training parameters of {wildcards.member}"
    script:
        "../workflow_scripts/search_hyperparameters.py"

"""One LoRA adapter per member, fold and seed, and one on all rows for a member with `refit`.

In:  results/tables/train.parquet, results/folds.parquet, the base model; results/hpo/{member}/best.yaml if hpo.enabled;
     results/members/{teacher}/oof.parquet if train.teacher names a member
Out: results/adapters/{member}/fold{fold}/: PEFT adapter, run.json, log.csv, curve.png

Plan and checkpoints are kept in results/work/train/{member}/fold{fold}, which Snakemake never deletes: a killed job
resumes from the last checkpoint. Trackers write to results/tracking/{member}/fold{fold}.
"""


rule train_adapter:
    input:
        table="results/tables/train.parquet",
        folds="results/folds.parquet",
        best=best_of,
        histories=histories_of,
        teacher=teacher_of,
        stored_base=stored_base_of,
    output:
        # The folder as a target, and the files in it that other rules depend on: only files have checksums.
        adapter=directory("results/adapters/{member}/fold{fold}"),
        weights="results/adapters/{member}/fold{fold}/adapter_model.safetensors",
        settings="results/adapters/{member}/fold{fold}/adapter_config.json",
        run="results/adapters/{member}/fold{fold}/run.json",
        history="results/adapters/{member}/fold{fold}/log.csv",
        curve=report(
            "results/adapters/{member}/fold{fold}/curve.png",
            caption="../docs/captions/training.rst",
            category="2 Training",
            labels={"member": "{member}", "fold": "{fold}", "figure": "training curve"},
        ),
    log:
        "results/logs/train_adapter/{member}.fold{fold}.log",
    benchmark:
        "results/benchmarks/train_adapter/{member}.fold{fold}.tsv"
    conda:
        "../envs/vqaflow.yaml"
    threads: 1  # sums depend on the number of threads; with one, results do not depend on --cores
    resources:
        gpu=lambda wildcards: train_of(wildcards)["devices"],
    params:
        **not_compared(
            results=str(RESULTS.folder),
            store=lookup(dpath="hardware/store", within=config),
            store_gb=lookup(dpath="hardware/store_gb", within=config),
        ),
        **named_base(),
        **named_model(),
        **named_prompt(),
        **named_train(),
        **named("answers", entries(AnswersConfig, config["data"]), shown="data"),
        **named_view(trained_view_of),
        code=code_of("train_adapter"),
    message:
        "Training the adapter of {wildcards.member}, fold {wildcards.fold}"
    script:
        "../workflow_scripts/train_adapter.py"

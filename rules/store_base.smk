"""The base model, quantised once for all jobs.

In:  the base model
Out: a folder of quantised weights in results/base/, named by what they depend on, and results/base.json, which names it

Part of the DAG unless model.quantization is none. The jobs that load a base wait for it here and look for its folder
themselves: on a machine that quantises otherwise, or after results/base/ was deleted, the first of them makes it anew.
So base.json stands beside that folder: were it lost with it, all jobs would run again. (Marked `ancient`, it would have
Snakemake overlook all other reasons to rerun what comes after it.)
"""


rule store_base:
    output:
        stored="results/base.json",
    log:
        "results/logs/store_base.log",
    benchmark:
        "results/benchmarks/store_base.tsv"
    conda:
        "../envs/vqaflow.yaml"
    threads: 1
    resources:
        gpu=1,
    params:
        base=BASE,
        model=entries(BaseConfig, config["model"]),
        code=code_of("store_base"),
    message:
        "Quantising the base model once for all jobs"
    script:
        "../workflow_scripts/store_base.py"

"""A member's base model, quantised once for all jobs.

In:  the base model
Out: a folder of quantised weights in results/base/, named by what they depend on, and results/base.{member}.json, which
     names it; members with the same base share the folder

Part of the DAG unless model.quantization is none or fp8. Jobs that load a base wait for this rule and then look for the folder
themselves: on a machine that quantises in another way, or after results/base/ was deleted, the first of them makes it
again. Therefore base.{member}.json is beside that folder and not in it: if it were deleted with the folder, all jobs
would run again. (If it were marked `ancient`, Snakemake would ignore all other reasons to rerun what comes after it.)
"""


rule store_base:
    output:
        stored="results/base.{member}.json",
    log:
        "results/logs/store_base/{member}.log",
    benchmark:
        "results/benchmarks/store_base/{member}.tsv"
    conda:
        "../envs/vqaflow.yaml"
    threads: 1
    resources:
        gpu=lambda wildcards: MEMBERS[wildcards.member].devices,
    params:
        **not_compared(results=str(RESULTS.folder)),
        **named_base(),
        **named("model", stored_model_of, [entries(BaseConfig, member.model) for member in MODELS]),
        code=code_of("store_base"),
        devices=lambda wildcards, output: MEMBERS[wildcards.member].devices,
    message:
        "Quantising the base model of {wildcards.member} once for all jobs"
    script:
        "../workflow_scripts/store_base.py"

"""Rule run_trials: one worker of a hyper-parameter search."""

from pathlib import Path

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.sections import AnswersConfig, HpoConfig, ModelConfig, PromptConfig, ViewConfig, section
from vqaflow.runtime.gpu_lease import lease_gpu
from vqaflow.runtime.process_start import importing
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    lease_gpu()
    with importing():
        from vqaflow.search.run_trials import run_trials  # imports torch, which must see the leased GPU only
        from vqaflow.search.trial import TrialInputs

    results = ResultsFolder(Path(snakemake.params.results))
    inputs = TrialInputs(
        table=Path(snakemake.input.table),
        folds=Path(snakemake.input.folds),
        model=section(ModelConfig, snakemake.params.model),
        prompt=section(PromptConfig, snakemake.params.prompt),
        train=snakemake.params.train,
        hpo=section(HpoConfig, snakemake.params.hpo),
        bases=results.bases,
        vision=results.vision,
        answers=section(AnswersConfig, snakemake.params.answers),
        view=section(ViewConfig, snakemake.params.view),
        teacher=Path(snakemake.input.teacher) if snakemake.input.get("teacher") else None,
    )
    run_trials(inputs, work=results.search_work(snakemake.wildcards.member), out=Path(snakemake.output.trials))

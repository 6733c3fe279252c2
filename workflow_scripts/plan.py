"""Rule plan: the memory and the hours of the whole run, printed before it starts."""

from pathlib import Path

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.commands.tools.plan import print_whole_plan
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0]):
    print_whole_plan(snakemake.params.config, ResultsFolder(Path(snakemake.params.results)))

"""Rule pool_member: what one member says of each row."""

from pathlib import Path

from vqaflow.artifacts.results_folder import MemberFolder
from vqaflow.ensemble.pool_member import Tables, pool_member
from vqaflow.runtime.stage import stage

with stage(snakemake.log[0], snakemake.output):
    given = snakemake.input
    pool_member(
        about=snakemake.params.about,
        scores=[Path(path) for path in given.scores],
        files=[Path(path) for path in given.files],
        records=[Path(path) for path in given.records],
        tables=Tables(*(Path(given[name]) for name in ("train", "test", "folds", "problems"))),
        order_pooling=snakemake.params.order_pooling,
        out=MemberFolder(Path(snakemake.output.note).parent),
    )

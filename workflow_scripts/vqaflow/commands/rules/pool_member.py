"""Pool the scores of one member over orders and seeds, or check the probability files of one."""

import argparse
from pathlib import Path

from vqaflow.artifacts.adapter_files import RUN
from vqaflow.commands.options import add_config, add_member, add_results
from vqaflow.config.loading import checked_config
from vqaflow.config.members import member_named, members_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_member(parser)
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.ensemble.pool_member import Tables, pool_member

    config, results = checked_config(*arguments.config), arguments.results
    member, folds = member_named(members_of(config), arguments.member), config["folds"]["n"]
    files = member.probabilities
    scores = [
        results.scores(member.name, split, part, view)
        for split in ("oof", "test")
        for part in member.parts(split, folds)
        for view in member.pooled_views
    ]
    runs = [results.adapter(member.name, part) / RUN for part in member.trained_parts(folds)]
    pool_member(
        about=member.describe(),
        scores=scores,
        files=[Path(files["oof"]), Path(files["test"])] if files else [],
        records=runs + [path.with_suffix(".json") for path in scores],
        tables=Tables(results.table("train"), results.table("test"), results.folds, results.problems),
        order_pooling=config["ensemble"]["order_pooling"],
        out=results.member(member.name),
    )

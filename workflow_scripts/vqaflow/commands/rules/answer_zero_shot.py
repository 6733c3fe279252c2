"""Write a first submission from an untuned member's scores of the test rows."""

import argparse
from pathlib import Path

from vqaflow.commands.options import add_config, add_member, add_results
from vqaflow.config.loading import checked_config
from vqaflow.config.members import UNTUNED, members_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_member(parser)
    add_results(parser)
    parser.add_argument("--out", type=Path, help="submission to write (default: results/zero_shot/MEMBER.csv)")


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.artifacts.parts import BASE
    from vqaflow.config.members import member_named, require_kind
    from vqaflow.ensemble.submission.zero_shot import answer_zero_shot

    config = checked_config(*arguments.config)
    members = members_of(config)
    untuned = {name: member for name, member in members.items() if member.kind == UNTUNED}
    member = member_named(members if arguments.member else untuned or members, arguments.member)
    require_kind(member, [UNTUNED], "answer before training")
    results = arguments.results
    out = arguments.out or results.folder / "zero_shot" / f"{member.name}.csv"
    answer_zero_shot(
        scores=[results.scores(member.name, "test", BASE, view) for view in member.pooled_views],
        test_table=results.table("test"),
        labels=results.labels,
        sample_submission=Path(config["data"]["sample_submission"]),
        order_pooling=config["ensemble"]["order_pooling"],
        main=member.main_view,
        probabilities=out.with_suffix(".parquet"),
        out=out,
    )

"""Choose the best parameters that the workers of run_trials have found."""

import argparse

from vqaflow.commands.options import add_config, add_member, add_results
from vqaflow.config.loading import checked_config
from vqaflow.config.members import TUNED, member_named, members_of, require_kind
from vqaflow.runtime.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_member(parser)
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.search.search_hyperparameters import search_hyperparameters

    config, results = checked_config(*arguments.config), arguments.results
    chosen = member_named(members_of(config), arguments.member)
    require_kind(chosen, (TUNED,), "search")
    member = chosen.name
    found, out = results.workers(member), results.search(member)
    if not found:
        raise UserError(f"{out / 'workers'}: has no report of a worker. Run vqaflow run_trials first.")
    search_hyperparameters(
        workers=found,
        work=results.search_work(member),
        trials=config["hpo"]["trials"],
        best_out=out / "best.yaml",
        study_out=out / "study.db",
        figures_out=out / "figures",
    )

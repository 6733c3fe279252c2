"""Run one worker of a hyper-parameter search until no trial is left.

Any number of workers may run at once, on one machine or on several that share the folder.
"""

import argparse

from vqaflow.commands.options import add_config, add_member, add_results
from vqaflow.config.loading import checked_config
from vqaflow.config.members import TUNED, member_named, members_of, require_kind
from vqaflow.config.sections import AnswersConfig, HpoConfig, ModelConfig, PromptConfig, ViewConfig, entries, section
from vqaflow.runtime.gpu_lease import lease_gpu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_member(parser)
    parser.add_argument(
        "--worker",
        type=int,
        default=0,
        help="number of this worker; workers that run at the same time need different ones (default: %(default)s)",
    )
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    config, results = checked_config(*arguments.config), arguments.results
    member = member_named(members_of(config), arguments.member)
    require_kind(member, (TUNED,), "search")
    lease_gpu()
    from vqaflow.search.run_trials import run_trials  # imports torch, which must see the leased GPU only
    from vqaflow.search.trial import TrialInputs

    inputs = TrialInputs(
        table=results.table("train"),
        folds=results.folds,
        model=section(ModelConfig, member.model),
        prompt=section(PromptConfig, member.prompt),
        train=member.train,
        hpo=section(HpoConfig, entries(HpoConfig, config["hpo"])),
        bases=results.bases,
        vision=results.vision,
        answers=section(AnswersConfig, entries(AnswersConfig, config["data"])),
        view=section(ViewConfig, member.rendering(member.main_view)),
        teacher=results.teacher(member.train["teacher"]),
    )
    run_trials(inputs, work=results.search_work(member.name), out=results.worker(member.name, arguments.worker))

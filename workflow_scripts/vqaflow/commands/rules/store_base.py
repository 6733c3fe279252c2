"""Quantise the base model once for all jobs."""

import argparse

from vqaflow.commands.options import add_config, add_member, add_results
from vqaflow.config.loading import checked_config
from vqaflow.config.members import TUNED, UNTUNED, member_named, members_of, require_kind
from vqaflow.config.sections import BaseConfig, entries
from vqaflow.runtime.gpu_lease import lease_gpus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_member(parser)
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    member = member_named(members_of(checked_config(*arguments.config)), arguments.member)
    require_kind(member, (TUNED, UNTUNED), "quantise")
    model, out = entries(BaseConfig, member.model), arguments.results.base_note(member.name)
    lease_gpus(member.devices, key="model.devices")
    from vqaflow.model.store_base import store_base  # imports torch, which must see the leased GPU only

    store_base(model=model, bases=arguments.results.bases, out=out, devices=member.devices)

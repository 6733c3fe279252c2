"""Write a model card (README.md) beside each adapter of a finished run.

It says what the adapter was made of (base, data, folds, each with its digest), how accurate it is on the rows that it
was not trained on, licences, intended use and limits, in the format of the Hugging Face Hub. Licences, authors and use
come from `about` in the configuration. The adapters stay as they are, and nothing runs again. docs/provenance.md
"""

import argparse

from vqaflow.commands.options import add_config, add_results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add_config(parser)
    add_results(parser)


def run(arguments: argparse.Namespace) -> None:
    """Run the command."""
    from vqaflow.config.about import about_of
    from vqaflow.config.loading import checked_config
    from vqaflow.provenance.cards import write_cards

    about = about_of(checked_config(*arguments.config))
    print(*write_cards(arguments.results, about), sep="\n")
    if about.license is None:
        print("about.license is not given: the cards say so. Name one in the configuration, such as Apache-2.0.")

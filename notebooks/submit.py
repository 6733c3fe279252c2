"""Send results/submission.csv to a Kaggle competition, after a check and a yes. Nothing else calls this.

python -m notebooks.submit --competition NAME --message TEXT [--yes]

It checks the file as the workflow does, and then calls Kaggle's own client, `kaggle competitions submit`, which has to
be installed and to know who you are. A competition takes few submissions a day; each one counts.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vqaflow.artifacts.results_folder import ResultsFolder
from vqaflow.config.loading import checked_config
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.stage import log, stage

CLIENT = "kaggle"
TOKENS = ("KAGGLE_API_TOKEN", "KAGGLE_KEY")  # variables of the environment that the client reads
FILES = ("access_token", "kaggle.json")  # files that it reads in ~/.kaggle, or in KAGGLE_CONFIG_DIR


def require_given(competition: str, message: str) -> None:
    """Raise UserError if one of them is missing."""
    for name, value in (("COMPETITION", competition), ("MESSAGE", message)):
        if not value.strip():
            raise UserError(f"{name}: is missing. Write make submit COMPETITION=name MESSAGE='what it is'.")


def require_client(environment: Mapping[str, str]) -> str:
    """The client's path. Raises UserError if it is not installed, or finds no credentials; none are read here."""
    client = shutil.which(CLIENT, path=environment.get("PATH"))
    if client is None:
        raise UserError(f"{CLIENT}: Kaggle's client is not installed. Install it: pip install kaggle.")
    home = Path(environment.get("HOME", "~")).expanduser()
    folders = [environment.get("KAGGLE_CONFIG_DIR"), home / ".kaggle", home / ".config" / "kaggle"]
    files = [Path(folder, name) for folder in folders if folder for name in FILES]
    if not any(environment.get(name) for name in TOKENS) and not any(path.is_file() for path in files):
        raise UserError(
            f"{files[0]}: is not there, so that Kaggle's client does not know you. Make a token in Kaggle's settings, "
            "and put it there."
        )
    return client


def require_yes(file: Path, competition: str, is_sure: bool, ask: Callable[[str], str] | None) -> None:
    """Raise UserError unless the user is sure; `ask` puts the question, None: there is no terminal."""
    if is_sure:
        return
    if ask is None:
        raise UserError(f"{file}: is not sent to {competition} without a yes. Add YES=1.")
    if (
        ask(f"Send {file} to {competition}? It counts as one of today's submissions. [yes/no] ").strip().lower()
        != "yes"
    ):
        raise UserError(f"{file}: was not sent to {competition}. Answer yes to send it.")


def check(file: Path, results: ResultsFolder, config: Mapping[str, Mapping]) -> None:
    """Check the file against the sample submission and the test table. Raises UserError if it is not valid."""
    from vqaflow.ensemble.submission.validate_submission import validate_submission

    validate_submission(
        submission=file,
        sample_submission=Path(config["data"]["sample_submission"]),
        test_table=results.table("test"),
        metrics=None,
        out=None,
        labels=results.labels,
        strict=False,
    )
    log.info("%s: valid", file)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="notebooks.submit", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--competition", default="")
    parser.add_argument("--message", default="")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--file", type=Path, help="default: submission.csv in the results")
    parser.add_argument("--config", nargs="+", type=Path, default=[], help="the run's settings: my.yaml")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(arguments)
    with stage(None):
        results = ResultsFolder(options.results)
        file = options.file or results.submission
        require_given(options.competition, options.message)
        if not file.is_file():
            raise UserError(f"{file}: is not there. Run the workflow first, or give another one: FILE=….")
        check(file, results, checked_config(*options.config))
        client = require_client(os.environ)
        require_yes(file, options.competition, options.yes, input if sys.stdin.isatty() else None)
        words = ["competitions", "submit", options.competition, "-f", str(file), "-m", options.message]
        status = subprocess.run([client, *words], check=False).returncode
        if status:
            raise UserError(
                f"{CLIENT}: ended with exit status {status}, as its last lines explain. Look on Kaggle whether the "
                "file arrived before you send it again."
            )


if __name__ == "__main__":
    main()

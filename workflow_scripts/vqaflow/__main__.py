"""`python -m vqaflow COMMAND`: the same as `vqaflow COMMAND`, for machines without an installation."""

from typing import NoReturn

from vqaflow.commands.command_line import main
from vqaflow.runtime.process_start import end_process


def run_and_end() -> NoReturn:
    """Run the command that the process's arguments name, and end the process."""
    try:
        main()
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise  # a message, which Python prints
        end_process(ended.code or 0)
    end_process(0)


if __name__ == "__main__":
    run_and_end()

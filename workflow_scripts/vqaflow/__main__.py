"""`python -m vqaflow COMMAND`: the same as `vqaflow COMMAND`, for machines without an installation."""

from vqaflow.commands.command_line import main

if __name__ == "__main__":
    main()

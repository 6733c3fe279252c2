"""Secrets that must not get into what is handed on: tokens by their form, and those in this process's environment."""

import os
import re

from vqaflow.runtime.errors import UserError

SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|API_?KEY|CREDENTIAL|PRIVATE_?KEY", re.IGNORECASE)
# Hugging Face, GitHub, OpenAI and Anthropic, AWS, Slack, a PEM key, and a password within an address.
FORMS = re.compile(
    r"hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|\bsk-[A-Za-z0-9_-]{20,}|\bAKIA[0-9A-Z]{16}\b"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^\s/:@\"']+:[^\s/@\"']+@"
)
SHORTEST = 8  # a shorter value of a variable is found by chance


def require_no_secret(where: str, text: str) -> None:
    """Raise UserError if `text`, which goes to `where`, holds a secret; the message does not repeat it."""
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and len(value) >= SHORTEST and value in text:
            raise UserError(f"{where}: would hold the value of the environment variable {name}. Take it out first.")
    if found := FORMS.search(text):
        shown = found[0][:6]
        raise UserError(f"{where}: would hold a secret ({shown}…). Take it out of the configuration or file first.")

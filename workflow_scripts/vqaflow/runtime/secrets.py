"""Tokens and passwords: masked in logs, refused in the configuration and in what is handed on."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from vqaflow.runtime.errors import UserError

NOT_IN_DIGESTS = True  # it changes only words, and refuses settings
MASK = "***"
# Variables of the environment that hold a secret, such as HF_TOKEN, WANDB_API_KEY and MLFLOW_TRACKING_PASSWORD.
SECRET_NAME = re.compile(r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|PASS|KEY|CREDENTIALS?|PAT)(?:_ID)?$", re.I)
SHORTEST = 8  # characters of a secret: a shorter value may be part of any word
USER = re.compile(r"(?<=://)[^\s/@'\"]+(?=@)")  # the user and the password before the @ in an address
NAMED = re.compile(
    r"(?<=[?&])((?:access_|auth_|api_?)?(?:token|key|secret|password|signature|sig)=)[^&\s'\"]{4,}", re.I
)
HEADER = re.compile(r"(\bBearer\s+)[\w.~+/=-]{8,}")
# What tokens of hubs and clouds, and keys in PEM form, begin with.
TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|sk-[\w-]{20,}"
    r"|AKIA[0-9A-Z]{16}|xox[abprs]-[\w-]{10,})|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)


def hidden(text: str) -> str:
    """`text` with each secret in it masked: those of the environment, in addresses, and tokens of known forms."""
    for secret in _of_environment():
        text = text.replace(secret, MASK)
    text = TOKEN.sub(MASK, HEADER.sub(rf"\1{MASK}", NAMED.sub(rf"\1{MASK}", text)))
    return USER.sub(MASK, text)


def require_no_secret(where: str, text: str) -> None:
    """Raise UserError if `text`, which is handed on as `where`, holds a secret; the message does not repeat it."""
    if hidden(text) != text:
        line = next((n for n, line in enumerate(text.splitlines(), 1) if hidden(line) != line), 1)
        raise UserError(f"{where}: line {line} holds a token or a password. Take it out of where it comes from first.")


def secret_problems(config: Any, where: str = "") -> Iterator[str]:
    """The settings of `config` that hold a secret, each with its key and cure; never with the secret itself."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            name = f"{where}.{key}" if where else str(key)
            if hidden(str(key)) != str(key):
                yield _problem(f"a key of {where or 'the configuration'}")
            else:
                yield from secret_problems(value, name)
    elif isinstance(config, list | tuple):
        for number, value in enumerate(config):
            yield from secret_problems(value, f"{where}.{number}")
    elif isinstance(config, str) and hidden(config) != config:
        yield _problem(where)


def _problem(where: str) -> str:
    return (
        f"{where}: it holds a token or a password, which logs, run.json and reports would show. Remove it; for the "
        "hub, run `hf auth login` or set HF_TOKEN in the environment."
    )


def _of_environment() -> list[str]:
    """The secrets in the environment, the longest first; the path of a file is not a secret."""
    found = {value for name, value in os.environ.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST}
    return sorted((value for value in found if not os.path.exists(value)), key=len, reverse=True)

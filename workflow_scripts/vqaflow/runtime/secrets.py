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
# The user and the password before the @ in an address; a port is not a password.
USER = re.compile(r"(?<=:/{2})(?:[^\s/'\"]+|[^\s/@:'\"\[]+:(?!\d*[/?#])[^\s@'\"]+)(?=@)")
WORD = r"(?:token|secret|passwor[dt]|passwd|pwd|(?:api|access|secret|private|account)[_-]?key|credentials?)"
# Eight characters or more with a letter and a digit; no path, variable, gap to be filled, or call in a program.
AHEAD = r"[^\s'\",;&]{0,256}"  # without a bound, a long text without a space would take hours
VALUE = (
    rf"(?![$<{{/.~*…])(?!{AHEAD}[(\[{{])(?={AHEAD}\d)(?={AHEAD}[A-DF-Za-df-z])"
    r"[^\s'\",;&)\]}]{8,}"
)
# Each form keeps its first group, and what follows is masked.
BEFORE = (
    # a parameter of an address
    re.compile(rf"((?<=[?&#])(?:[A-Za-z0-9]+[_-])*(?:{WORD}|key|signature|sig)=)[^&\s'\"]{{4,}}", re.I),
    # a header of a request, and a line of .netrc
    re.compile(r"(\bBearer\s+)[\w.~+/=-]{8,}"),
    re.compile(r"(\bAuthorization['\"]?\s*[:=]\s*['\"]?(?:(?:Basic|Token|Digest|ApiKey)\s+))[^\s'\"]{4,}", re.I),
    re.compile(r"(\bX-Api-Key['\"]?\s*[:=]\s*['\"]?)[^\s'\"]{4,}", re.I),
    re.compile(r"(\blogin\s+\S+\s+password\s+)\S+"),
    # kaggle.json: `key` alone is no name of a secret
    re.compile(r"(['\"]username['\"]\s*:\s*['\"][^'\"]*['\"]\s*,\s*['\"]key['\"]\s*:\s*['\"])[^'\"]+"),
    re.compile(r"(['\"]key['\"]\s*:\s*['\"])[^'\"]+(?=['\"]\s*,\s*['\"]username['\"])"),
    # a variable as a shell sets it: KAGGLE_KEY=…, unless its value is another variable, a path or a gap to be filled
    re.compile(
        r"(\b(?:[A-Z][A-Z0-9]*_)*(?:TOKEN|SECRET|PASSWORD|PASSWD|PASS|KEY|CREDENTIALS?|PAT)(?:_ID)?=['\"]?)"
        r"(?![$<{/.~*…])[^\s'\"]{8,}"
    ),
    # a named value of letters and digits, as a file of settings or an option of a command gives it
    re.compile(rf"((?<![\w-])(?:[A-Za-z0-9]+[_-])*{WORD}['\"]?\s*[:=]\s*['\"]?){VALUE}", re.I),
    re.compile(rf"(\s--(?:[A-Za-z0-9]+-)*{WORD}\s+['\"]?){VALUE}", re.I),
)
# Tokens that are known by how they begin: of hubs, code hosts, clouds, chats, model providers and package indexes.
TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|gl(?:pat|dt|rt|cbt|ptt|oas|soat)-[\w-]{16,}"
    r"|xox[abceoprs]-[\w-]{10,}|xapp-[\w-]{10,}"
    r"|sk-(?=[\w-]*\d)[\w-]{20,}|[sr]k_(?:live|test)_\w{16,}|gsk_\w{20,}|r8_\w{20,}|wandb_v1_\w{16,}|KGAT_\w{16,}"
    r"|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}|dapi[0-9a-f]{32}|dop_v1_[0-9a-f]{32,}|SG\.[\w-]{16,}\.[\w-]{16,}"
    r"|pypi-[\w-]{32,}|npm_[A-Za-z0-9]{30,}|\d{8,10}:AA[\w-]{32,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*)"
    # not within a picture in base64
    r"|(?<![\w+/])(?:A(?:KIA|SIA)[0-9A-Z]{16}|AIza[\w-]{35})(?![\w+/])"
    r"|(?<=hooks\.slack\.com/services/)[\w/]{16,}"
)
# A key in PEM form, to its end, or as far as there are lines of it.
BLOCK = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:.*?-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|(?:(?:\s|\\n)*[A-Za-z0-9+/=]{20,})*)",
    re.S,
)


def hidden(text: str) -> str:
    """`text` with each secret in it masked: those of the environment, in addresses, and tokens of known forms."""
    for secret in _of_environment():
        text = text.replace(secret, MASK)
    text = TOKEN.sub(MASK, BLOCK.sub(MASK, text))
    for form in BEFORE:
        text = form.sub(rf"\1{MASK}", text)
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

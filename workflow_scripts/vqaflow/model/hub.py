"""Where a base's files come from: this machine or the hub, never code that lies beside them.

Whether the hub is in reach is asked once, since the library tries a hub out of reach for minutes.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from vqaflow.config.sections import BaseConfig
from vqaflow.data.images.visual_tokens import base_file
from vqaflow.runtime.errors import UserError
from vqaflow.runtime.messages import reason_of

NO_CODE = {"trust_remote_code": False}  # None would ask on a terminal
COMMIT = re.compile(r"[0-9a-f]{40}")
SECONDS = 5  # for an answer of the hub; one that is in reach gives it in a fraction of one


def source_of(model: BaseConfig) -> dict[str, Any]:
    """The library's arguments for where a base's files are read from.

    Raises UserError for a hub name of which this machine has no file while the hub is out of reach.
    """
    if Path(model.base).is_dir():
        return NO_CODE | {"local_files_only": True}
    options = NO_CODE | ({"revision": model.revision} if model.revision else {})
    reason = out_of_reach()
    if reason is None:
        return options
    if base_file(model.base, model.revision, "config.json") is None:
        raise UserError(
            f"config model.base: {model.base} is not on this machine, and the hub is out of reach ({reason}). Run `hf "
            f"download {model.base}` where it is in reach, and give the folder; or correct the path of a folder."
        )
    return options | {"local_files_only": True}


def unpinned(model: BaseConfig) -> str | None:
    """What to say of a hub name without a commit; None for a folder, and for a commit. Never uses the network."""
    if Path(model.base).is_dir() or COMMIT.fullmatch(model.revision or ""):
        return None
    where = f"revision {model.revision}" if model.revision else "revision main"
    file = base_file(model.base, model.revision, "config.json")
    commit = file.parent.name if file and COMMIT.fullmatch(file.parent.name) else None
    pin = f"{commit}, the commit that this machine has" if commit else "the commit on its page on the hub (40 digits)"
    return (
        f"model.base: {model.base} is read at {where}, which its owner can change: later jobs may get other weights. "
        f"Set model.revision to {pin}."
    )


@lru_cache
def out_of_reach() -> str | None:
    """Why the hub cannot be asked, or None; by way of the proxy and endpoint that the library uses."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=SECONDS)
    except Exception as error:  # of whichever package the library uses for HTTP
        return reason_of(error)
    return None

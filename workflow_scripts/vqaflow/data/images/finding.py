"""From an image cell of a table to the file that it names."""

import os
import unicodedata
from functools import lru_cache
from pathlib import Path

from vqaflow.data.images.decoding import ImageProblem


def find_image(name: str, root: Path | str) -> Path:
    """Return the real file of a table's image cell `name` under folder `root`.

    Raises ImageProblem if the path is absolute or leaves the folder (by ``..`` or a link), or if no file is there.
    """
    inside = f"Give the path relative to data.image_root ({root}), and keep the file in that folder"
    if Path(name).is_absolute() or name.startswith("\\") or name[1:3] in (":\\", ":/"):
        raise ImageProblem("image_outside", "the path is absolute", inside)
    try:
        real_root = _real_folder(root)
        real = (real_root / name).resolve()
        is_file, there = real.is_file(), real.exists()
    except (OSError, ValueError, RuntimeError) as error:  # name too long, NUL, circular links, no permission
        raise ImageProblem("image_missing", f"the path cannot be followed ({error})", inside) from None
    if not real.is_relative_to(real_root):
        raise ImageProblem("image_outside", f"the path leads out of the image folder, to {real}", inside)
    if is_file:
        return real
    what = f"{real} is a folder or device, not a file" if there else f"there is no file {Path(root) / name}"
    cure = f"Put it there, correct the path, or set data.image_root (now {root})"
    if "\\" in name:
        cure = "Write / instead of \\"
    elif not there and name != name.strip() and (real_root / name.strip()).is_file():
        what = f"there is no file {str(Path(root) / name)!r}, but one without the spaces around it"
        cure = "Remove the spaces"
    elif not there and (alike := _named_alike(real, real_root)):
        difference, cure = _difference(str(real), str(alike))
        what += f", but there is {alike}, whose name differs in {difference}"
    raise ImageProblem("image_missing", what, cure)


def _named_alike(missing: Path, root: Path) -> Path | None:
    """The path under `root` that equals `missing` except for case and Unicode form."""
    found = root
    for name in missing.relative_to(root).parts:
        if not (found / name).exists():
            name = _names_in(found).get(_plain(name), "")
            if not name:
                return None
        found /= name
    return found


def _difference(missing: str, alike: str) -> tuple[str, str]:
    """How two paths that look the same differ, and the cure."""
    if unicodedata.normalize("NFC", missing) != unicodedata.normalize("NFC", alike):
        return "upper and lower case", "Write the path exactly like the file's name, or rename the file"
    form = "NFC" if unicodedata.is_normalized("NFC", missing) else "NFD"
    cure = (
        f"Rename the files to {form} (convmv -r -f utf8 -t utf8 --{form.lower()} --notest FOLDER), or change the table"
    )
    return f"Unicode form (the table's is {form})", cure


@lru_cache(maxsize=8)
def _names_in(folder: Path) -> dict[str, str]:
    """The names in a folder by their plain form (see `_plain`); empty if the folder cannot be listed."""
    try:
        return {_plain(name): name for name in os.listdir(folder)}
    except OSError:
        return {}


def _plain(name: str) -> str:
    """The name without differences of case and Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()


@lru_cache(maxsize=8)
def _real_folder(root: Path | str) -> Path:
    return Path(root).resolve()

"""From an image cell of a table to the file that it names."""

import os
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from html import unescape
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from vqaflow.data.images.decoding import EXTENSIONS, ImageProblem

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
HELD = re.compile(r"data:[\w/+.-]+;base64,|(iVBORw0KGgo|/9j/|R0lGOD|UklGR)[A-Za-z0-9+/]{40}")  # by its first bytes
QUOTED = re.compile(r"[^\s\"'()\[\]{}<>;,|=]+\.[A-Za-z0-9]+")  # paths among the signs of lists, links and marks
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")
MOST_FILES = 200_000  # that are looked through for a name
SUFFIXES = frozenset(suffix for suffixes in EXTENSIONS.values() for suffix in suffixes)


def find_image(name: str, root: Path | str, follow_links: bool = False) -> Path:
    """Return the real file of a table's image cell `name` under folder `root`.

    Raises ImageProblem if no file is there, or if the path leaves the folder: by its own parts always, by a link unless
    `follow_links`. An absolute path may lead into the folder.
    """
    inside = f"Give the path relative to data.image_root ({root}), and keep the file in that folder"
    if HELD.match(name):
        what, cure = "the cell holds the picture itself (base64), not a path", "Save it as a file, and give its path"
        raise ImageProblem("image_missing", what, cure)
    if ADDRESS.match(name):
        raise _address(name, Path(root))
    if name.startswith("\\") or name[1:3] in (":\\", ":/"):
        raise _absolute(name.replace("\\", "/"), "the path is absolute", inside, Path(root))
    inner = _inside(name, root)
    if inner is None:
        raise _absolute(name, "the path is absolute, and not in the image folder", inside, Path(root))
    try:
        real_root = _real_folder(root)
        real = (real_root / inner).resolve()
        is_file, there = real.is_file(), real.exists()
    except (OSError, ValueError, RuntimeError) as error:  # name too long, NUL, circular links, no permission
        raise ImageProblem("image_missing", f"the path cannot be followed ({error})", inside) from None
    if not real.is_relative_to(real_root):
        if ".." in Path(inner).parts:
            raise ImageProblem("image_outside", f"the path leads out of the image folder, to {real}", inside)
        if not follow_links:
            what = f"the path leads out of the image folder by a link, to {real}"
            cure = "If the link is yours, set data.follow_links: true; else put the file itself there"
            raise ImageProblem("image_outside", what, cure)
    if is_file:
        return real
    raise ImageProblem("image_missing", *_missing(name, inner, Path(root), there))


def _inside(name: str, root: Path | str) -> str | None:
    """The path relative to `root`; None if `name` is absolute and does not lie in it, by either of the root's names."""
    if not Path(name).is_absolute():
        return name
    plain = Path(os.path.normpath(name))
    for folder in (Path(os.path.abspath(root)), _real_folder(root)):
        if plain.is_relative_to(folder):
            return str(plain.relative_to(folder))
    return None


def _absolute(name: str, what: str, cure: str, root: Path) -> ImageProblem:
    """The problem of an absolute path; the file in the folder that ends like it is named."""
    tails = (tail for tail in (name.lstrip("/"), *_tails(name)) if _is_file(_real_folder(root) / tail))
    if tail := next(tails, None):
        cure = f"Remove {name[: len(name) - len(tail)]} from the paths"
        return ImageProblem("image_outside", f"{what}; there is a file {root / tail}", cure)
    return ImageProblem("image_outside", what, cure)


def _missing(name: str, inner: str, root: Path, there: bool) -> tuple[str, str]:
    """What is wrong with a path that no file has, and the cure; a file with a similar name is named."""
    if there:
        return f"{root / inner} is a folder or device, not a file", f"Correct the path (data.image_root is {root})"
    what = f"there is no file {root / inner}"
    if "\\" in name:
        return what, "Write / instead of \\"
    real_root = _real_folder(root)
    if inner != inner.strip() and (real_root / inner.strip()).is_file():
        return f"there is no file {str(root / inner)!r}, but one without the spaces around it", "Remove the spaces"
    if (archive := _archive(inner, real_root)) is not None:
        return f"{what}, but there is {root / archive}, which is packed", "Unpack it, and keep its folders"
    if found := _similar(inner, real_root):
        alike, difference, cure = found
        return f"{what}, but there is {root / alike}, {difference}", cure
    return what, f"Put it there, correct the path, or set data.image_root (now {root})"


def _address(name: str, root: Path) -> ImageProblem:
    """The problem of a cell with an address in place of a path."""
    what = "the cell has an address, not a path"
    path = unquote(name.split("://", 1)[1].split("?")[0].split("#")[0])
    found = next((tail for tail in _tails(path) if _is_file(_real_folder(root) / tail)), None)
    if found:
        return ImageProblem("image_missing", f"{what}; there is a file {root / found}", f"Write {found}")
    return ImageProblem("image_missing", what, "Download the image, and give its path relative to data.image_root")


def _similar(name: str, root: Path) -> tuple[str, str, str] | None:
    """A file under `root` that `name` may mean: its path, how the names differ, and the cure."""
    if alike := _named_alike(name, root):
        return alike, *_difference(name, alike)
    if (plain := unquote(name)) != name and _is_file(root / plain):
        return plain, "whose name has no %-codes", "Write the name without them"
    if (plain := unescape(name)) != name and _is_file(root / plain):
        return plain, "whose name has no codes of HTML", "Write the name without them"
    if inside := [found for found in QUOTED.findall(name) if found != name and _is_file(root / found)]:
        more = "; a row has one image" if len(set(inside)) > 1 else ""
        return inside[0], "whose name the cell has among other signs", f"Write only the path{more}"
    if alike := _by_stem(name, root):
        wrong = Path(name).suffix if Path(name).suffix.lower() in SUFFIXES else ""
        difference = f"whose extension is not {wrong}" if wrong else "which has an extension"
        return alike, difference, "Correct the extension in the table"
    for tail in _tails(name):
        if alike := tail if _is_file(root / tail) else _by_stem(tail, root):
            dropped = name[: len(name) - len(tail)].rstrip("/")
            cure = f"Remove {dropped}/ from the paths" if tail == alike else f"Write {alike}"
            return alike, f"without the folder {dropped}", cure
    for folder in _folders_in(root):
        within = f"{folder}/{name}"
        if alike := within if _is_file(root / within) else _by_stem(within, root):
            cure = f"Add {folder}/ to the paths, or set data.image_root to that folder"
            return alike, f"in the folder {folder}", cure
    if alike := _by_number(name, root):
        return alike, "whose number has other leading zeros", "Write the name as the file has it"
    if alike := _by_form(name, root):
        return alike, "whose name differs in spaces, hyphens, underscores or dots", "Write the name as the file has it"
    if alike := _files_below(root).get(Path(name).name):
        return alike, "in another folder", "Write the path as the file has it, or set data.image_root"
    return None


def _archive(name: str, root: Path) -> str | None:
    """An archive under `root` that is called like the first folder of `name`, which is not there or is empty."""
    folder = Path(name).parts[0] if Path(name).parts[1:] else ""
    if not folder or (root / folder).suffix or _names_in(root / folder, _plain):
        return None
    return next((folder + suffix for suffix in ARCHIVES if _is_file(root / (folder + suffix))), None)


def _tails(name: str) -> list[str]:
    """The path without its first folder, without its first two, and so on."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return ["/".join(parts[start:]) for start in range(1, len(parts))]


def _is_file(path: Path) -> bool:
    """Whether a file is there, of which no part of the path may be too long or contain NUL."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _named_alike(name: str, root: Path) -> str | None:
    """The path under `root` that equals `name` except for case and Unicode form."""
    found = Path()
    for part in Path(os.path.normpath(name)).parts:
        if not (root / found / part).exists():
            part = _names_in(root / found, _plain).get(_plain(part), "")
            if not part:
                return None
        found /= part
    return str(found)


def _by_stem(name: str, root: Path) -> str | None:
    """The path of the file in the same folder whose name without its extension is that of `name`."""
    path = Path(name)
    stem = path.stem if path.suffix.lower() in SUFFIXES else path.name
    found = _names_in(root / path.parent, _stem).get(_plain(stem))
    return str(path.parent / found) if found and Path(found).suffix.lower() in SUFFIXES else None


def _by_number(name: str, root: Path) -> str | None:
    """The path of the file in the same folder whose name has the same numbers with other leading zeros."""
    path = Path(name)
    found = _names_in(root / path.parent, _without_zeros).get(_without_zeros(path.name))
    return str(path.parent / found) if found else None


def _by_form(name: str, root: Path) -> str | None:
    """The path of the file in the same folder whose name differs in separating signs, or has one extension more."""
    path = Path(name)
    found = _names_in(root / path.parent, _form).get(_form(path.name))
    return str(path.parent / found) if found else None


def _form(name: str) -> str:
    """The name with one sign for those that separate words, and without its extensions."""
    plain = _plain(name)
    while (stem := Path(plain)).suffix in SUFFIXES:
        plain = stem.stem
    return re.sub(r"[\s_.+-]+", "_", plain)


@lru_cache(maxsize=8)
def _files_below(root: Path) -> dict[str, str]:
    """The path of each file under `root`, by its name, if no other file has the name; of the first MOST_FILES."""
    found: dict[str, str] = {}
    several = set()
    paths = (os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names)
    for path in islice(paths, MOST_FILES):
        name = os.path.basename(path)
        several.update([name] if name in found else [])
        found[name] = os.path.relpath(path, root)
    return {name: path for name, path in found.items() if name not in several}


def _difference(missing: str, alike: str) -> tuple[str, str]:
    """How two paths that look the same differ, and the cure."""
    if unicodedata.normalize("NFC", missing) != unicodedata.normalize("NFC", alike):
        cure = "Write the path exactly like the file's name, or rename the file"
        return "whose name differs in upper and lower case", cure
    form = "NFC" if unicodedata.is_normalized("NFC", missing) else "NFD"
    cure = (
        f"Rename the files to {form} (convmv -r -f utf8 -t utf8 --{form.lower()} --notest FOLDER), or change the table"
    )
    return f"whose name differs in Unicode form (the table's is {form})", cure


@lru_cache(maxsize=32)
def _names_in(folder: Path, key: Callable[[str], str]) -> dict[str, str]:
    """The names in a folder by their `key`; empty if the folder cannot be listed."""
    try:
        return {key(name): name for name in sorted(os.listdir(folder), reverse=True)}
    except (OSError, ValueError):
        return {}


@lru_cache(maxsize=8)
def _folders_in(root: Path) -> list[str]:
    """The folders in `root`."""
    try:
        return sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    except OSError:
        return []


def _plain(name: str) -> str:
    """The name without differences of case and Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name: str) -> str:
    """The name without its extension, if that is one of an image."""
    return _plain(Path(name).stem if Path(name).suffix.lower() in SUFFIXES else name)


def _without_zeros(name: str) -> str:
    """The name with its numbers without leading zeros."""
    return re.sub(r"0*(\d+)", r"\1", _plain(name))


@lru_cache(maxsize=8)
def _real_folder(root: Path | str) -> Path:
    return Path(root).resolve()

"""Names of encodings, as users write them."""

import codecs
from collections.abc import Iterable
from encodings.aliases import aliases

WIDE = {"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"}  # of two or four bytes a letter
IN_ASCII = ("utf-7", "hz", "iso2022")  # how the names begin of those that write other letters as signs of ASCII
NOT_OF_FILES = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"}


def codec_of(name: str) -> str | None:
    """The name that Python has for an encoding of text files; None if it knows none of this `name`."""
    try:
        codec = codecs.lookup(name.strip())
        "a".encode(codec.name)  # refuses codecs of bytes, such as zip
    except (LookupError, ValueError):
        return None
    return None if codec.name.replace("_", "-") in NOT_OF_FILES else codec.name


def known_names() -> Iterable[str]:
    """The names of all encodings of text files."""
    return sorted({name for name in aliases.values() if codec_of(name)})


def is_wide(codec: str) -> bool:
    """Whether each letter takes two or four bytes, so that a text has zero bytes."""
    return codec in WIDE


def is_in_ascii(codec: str) -> bool:
    """Whether the encoding's files have only signs of ASCII."""
    return codec.startswith(IN_ASCII)

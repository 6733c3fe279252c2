"""What a source file says, analysed once after each edit and kept beside the compiled file that Python keeps of it.

The digests of all rules need the analysis of a hundred files. It takes seconds of CPU time, in each of Snakemake's
processes and again in each job.
"""

import ast
import json
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path

from vqaflow.runtime import silence as silencing
from vqaflow.runtime.digests import file_digest, text_digest, value_digest, value_text
from vqaflow.runtime.silence import Definition, definitions, loaded, silence

NOT_IN_DIGESTS = True  # as code_digest
SUFFIX = ".meaning"


@dataclass(frozen=True)
class Analysis:
    """A file's silenced statements, and its imports.

    An import is the number of dots before a module's name, that name, and the name that is taken from it (none: "").
    """

    found: list[Definition]
    imports: list[tuple[int, str, str]]


@cache
def analysis_of(path: Path, source: bytes) -> Analysis:
    """The analysis of the file `path` with the bytes `source`: read if it has been kept, else made and kept.

    What was kept of other bytes, by another version of this package, or damaged, does not count.
    """
    key = value_digest([text_digest(source.decode("utf-8")), _analyser()])
    kept = Path(cache_from_source(str(path))).with_suffix(SUFFIX)
    found = _read(kept, key)
    if found is None:
        found = analyse(source)
        if not sys.dont_write_bytecode:
            _write(found, kept, key)
    return found


def analyse(source: bytes) -> Analysis:
    """The analysis of a file's bytes."""
    tree = ast.parse(source)
    before = loaded(tree)
    tree = silence(tree, before)
    imports: list[tuple[int, str, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports += [(node.level, node.module or "", alias.name) for alias in node.names]
    return Analysis(definitions(tree, before), imports)


@cache
def _analyser() -> str:
    """Changes with the code that analyses."""
    return value_digest([file_digest(module) for module in (__file__, silencing.__file__)])


def _read(kept: Path, key: str) -> Analysis | None:
    try:
        first, text = kept.read_text(encoding="utf-8").split("\n", 1)
    except (OSError, ValueError):
        return None
    if first != f"{key} {text_digest(text)}":
        return None
    imports, *statements = map(json.loads, text.splitlines())
    found = [Definition(meaning, Counter(reads), tuple(names)) for meaning, reads, names in statements]
    return Analysis(found, [tuple(one) for one in imports])


def _write(analysis: Analysis, kept: Path, key: str) -> None:
    """A file that another process reads half-written is a damaged one."""
    lines = [analysis.imports, *([one.meaning, one.reads, one.names] for one in analysis.found)]
    text = "\n".join(map(value_text, lines))
    try:
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(f"{key} {text_digest(text)}\n{text}", encoding="utf-8")
    except OSError:  # a checkout that only its owner may write to: each process analyses again
        return

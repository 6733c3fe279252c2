"""What is wrong with a settings file that is not YAML, in the words of who wrote it: the slip and its cure."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

MARKS = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32"}
MARKS |= {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
CURLY = "“”‘’„‚「」"
WIDE_COLON, WIDE_SPACES = "：", "\u00a0\u3000\u2003\u2009\u200b"
IN_CURLY = re.compile(
    rf"^\s*(?:- +)?(?:[{CURLY}][^{CURLY}]*[{CURLY}]\s*:|[\w.-]+:\s*[{CURLY}][^{CURLY}\s]*[{CURLY}]\s*(#|$))"
)
SAVE = "Save it in UTF-8"


class JsonKeyTwice(ValueError):
    """A key that an object has twice."""


def text_of(data: bytes) -> str:
    """The text of a settings file. Raises ValueError, with what is wrong and the cure, if it is not UTF-8."""
    for mark, name in MARKS.items():
        if data.startswith(mark):
            raise ValueError(f"is in {name}. {SAVE}.")
    if b"\0" in data[:4096]:
        raise ValueError(f"has zero bytes, as files in UTF-16 or programs' own files have. {SAVE}.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"is not in UTF-8 (line {line} is the first that is not). {SAVE}.") from None


def read_json(text: str) -> Any:
    """The values of a settings file in JSON. Raises ValueError if it is not, or has a key twice."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        for number, (key, _) in enumerate(found):
            if key in (other for other, _ in found[:number]):
                raise JsonKeyTwice(f"a section has the key {key} twice. Make one of the two.")
        return dict(found)

    return json.loads(text, object_pairs_hook=pairs)


def odd_line(text: str, near: int = 0) -> str:
    """The first line with signs that only look like YAML's, and the cure; "" if there is none.

    Only lines beside line `near` count, if it is given: a prompt of several lines may have such signs.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        before = line.split("#")[0]
        if near and abs(number - near) > 1:
            continue
        if IN_CURLY.match(before):
            return f' line {number}: has curly quotation marks, which are letters for YAML. Write " in place of them.'
        if re.match(rf"^\s*[\w.-]+{WIDE_COLON}", before):
            return f" line {number}: has a wide colon ({WIDE_COLON}). Write a plain one, with a space behind it."
        if re.match(rf"^ *[{WIDE_SPACES}]\s*[\w.-]+\s*:", before):
            return f" line {number}: begins with a space that YAML takes for a letter. Write plain spaces."
    return ""


def has_odd_signs(values: Any) -> bool:
    """Whether a key, or a value that is one word, has signs that only look like YAML's; or there are no keys at all."""
    if not isinstance(values, dict):
        return True
    waiting: list[Any] = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if any(set(key) & {*CURLY, *WIDE_SPACES, WIDE_COLON} for key in value if isinstance(key, str)):
                return True
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and re.fullmatch(rf"[{CURLY}]\S*[{CURLY}]|[\w.-]+{WIDE_COLON}.*", value):
            return True
    return False


def slip(text: str, error: yaml.MarkedYAMLError) -> str:
    """The line of what is not YAML, what is wrong with it, and the cure."""
    lines = text.splitlines()
    mark = error.problem_mark or error.context_mark
    number = mark.line + 1 if mark else 1
    if text.lstrip()[:1] == "{":
        try:
            read_json(text)
        except json.JSONDecodeError as fault:
            number = fault.lineno
            return f" line {number}: is neither YAML nor JSON ({fault.msg}). Correct this line or the one above."
    if odd := odd_line(text, near=number):
        return odd
    line = lines[number - 1] if number <= len(lines) else ""
    for what, cure in slips(line, lines, error):
        return f" line {number}: {what}. {cure}."
    return f" line {number}: is not YAML ({error.problem}). Correct this line or the one above."


def slips(line: str, lines: list[str], error: yaml.MarkedYAMLError) -> Iterator[tuple[str, str]]:
    """What may be wrong with a line, the likeliest first."""
    problem = str(error.problem)
    if "\\t" in problem:
        yield "has a tab, and YAML takes only spaces", "Replace the tabs of the file by spaces"
    if "escape character" in problem:
        yield 'has a \\ in "…", which YAML reads as an escape', "Write / in place of it, or '…' in place of \"…\""
    if re.match(r"\s*\[[\w.]+\]\s*$", lines[0] if lines else ""):
        yield (
            "is not YAML: the file has [sections] as TOML and INI files have",
            "Write `section:`, and its keys below it",
        )
    if "another document" in problem:
        yield "begins a second document (---)", "Keep one, and remove the line"
    if "end of stream" in problem and error.context_mark and "quoted" in str(error.context):
        yield f"the quotation mark of line {error.context_mark.line + 1} is not closed", "Close it"
    if " flow " in str(error.context) and error.context_mark and "expected ','" in problem:
        sign = "{" if "mapping" in error.context else "["
        yield f"the {sign} of line {error.context_mark.line + 1} is not closed", "Close it, or add the missing comma"
    if found := re.match(r"\s*(?:- +)?[\w.-]+:\s+([@`%*&!|>{\[\"'].*)$", line):
        yield f"the value {found[1]!r} begins with a sign of YAML's own", "Put the value in quotation marks"
    if "mapping values" in problem:
        if re.match(r"\s*(?:- +)?[\w.-]+:\s+[^\"'{\[].*: ", line + " "):
            yield "has a second colon, in the value", "Put the value in quotation marks"
        yield "is indented further than the line above, which has a value already", "Begin it below the line above"

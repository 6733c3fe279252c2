"""Guesses of a text's encoding, by the characters that it would have in each codec of the standard library.

A text in a wrong encoding has letters of several languages or scripts in one word, capitals within words, signs among
letters, or mostly rare letters. So the right encoding is the one whose characters one language writes often.

The score of a character is its place in the language's order of letters, from 1 for the most frequent to RARE.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from vqaflow.artifacts.encodings.east_asia import READINGS, plausibility

LEAST_PLAUSIBLE = 0.6  # of a guess at an encoding of East Asia that is told
LEAST_SCORE = 0.35  # of a single-byte guess that is told
NEXT_BEST = 0.85  # of the best guess's score: what another guess needs to be told too
MOST_TOLD = 3
RARE = 0.35
SPARSE = 0.005  # of a file's bytes: below it, text outside ASCII is signs in English rather than another language
SIGN_AMONG_ASCII = 1.0
SIGN, ODD_SIGN, FOREIGN, CONTROL, CAPITAL_WITHIN = 0.5, -0.5, -0.7, -2.0, -0.4
FIRST_OTHER_SCRIPT = "\u0370"  # Greek; letters before it are Latin
JUDGED = 20_000  # characters
SIGNS = frozenset("‘’“”„‚«»‹›–—…·•°№§©®€£¥¢±×÷²³½¼¾¿¡ªº™\u00a0")
WITHIN_WORDS = frozenset("’·–—…")
DIACRITICS = "\u0300\u0301\u0303\u0309\u0323"  # of Vietnamese in cp1258

# The letters outside ASCII that each language writes, the most frequent ones first.
LANGUAGES = {
    "English": "éïèêöüçñàâô",
    "Russian": "оеаинтслвркмдпуяыьгзбчйхжшюцщэфъё",
    "Ukrainian": "оанивіертскулмдпяькзбйгчюєхжцшїщфґ",
    "Bulgarian": "аиоентрсвлкдпмзгъубчщцйжхшяюфь",
    "Serbian": "аиоенрсјтувкдмплзгбчшћжцхњђљфџ",
    "Kazakh": "аеынтрлідсоқкмпбғиушйгжзөәүңяюхұвчцфщһэё",
    "Greek": "αοιετσνηυρπκμλωςάίόήέύδγχθφβξώζψϊϋΐΰ",
    "Hebrew": "יוהלאתמרבשנדעחםקפסטצגןזכץךף",
    "Arabic": "اليمونتربةعدهسفكحقجأشصىطخإضذثزئءآغؤظ",
    "Persian": "اینردهمتوسبکشگلخزفعجقپحآغصچطژضذثظئ",
    "Thai": "านรอกเงมยลวดทสต่ปบ้คหแจพัิีะื็ุูไใขถชโผึำซณธศษภฟญฐฉฝฎฏฆฒฌ์ํๆ฿ฯ",
    "Turkish": "ıişüğçöİŞĞâî",
    "French": "éèàêçôùîâûëïœÉÈÀÊÇæü",
    "German": "üäößéè",
    "Spanish": "óíáñéúü",
    "Portuguese": "ãçáéíóêõâúàôü",
    "Italian": "èàùòìéÈ",
    "Swedish": "äåöé",
    "Danish": "åøæé",
    "Icelandic": "áíðéþöúóýæ",
    "Irish": "áíéóú",
    "Welsh": "ŵŷâêîôûïáéẁ",
    "Polish": "łężąśćóńź",
    "Czech": "íáéěšřčžýůúťňďó",
    "Slovak": "áíéčšžýťúľôňďóäĺŕ",
    "Hungarian": "éáőöóíüúű",
    "Croatian": "čšžćđ",
    "Romanian": "ăîţşâțș",
    "Estonian": "äõüöšž",
    "Latvian": "āīēūšņļžģķčŗō",
    "Lithuanian": "ėšųžįūąčę",
    "Maltese": "ħżġċàìòù",
    "Esperanto": "ĝĉŭŝĵĥ",
    "Vietnamese": "đàáạảãâầấậẩẫăằắặẳẵèéẹẻẽêềếệểễìíịỉĩòóọỏõôồốộổỗơờớợởỡùúụủũưừứựửữỳýỵỷỹ" + DIACRITICS,
    "Georgian": "აიეორსდმნლბვტუკხგშთპცქზყღფჯჩწძჟჭჰ",
    "Armenian": "աներիտոմլկսվուդհյգբքպծշզղճցթջչձխժօփֆև",
}
# Of codecs that read a text alike, the first is told: the one that most programs write.
CODECS = {
    "cp1252": "Western European",
    "iso8859_15": "Western European",
    "cp850": "Western European, of DOS",
    "cp437": "Western European, of DOS",
    "mac_roman": "Western European, of a Mac",
    "cp865": "Nordic, of DOS",
    "cp861": "Icelandic, of DOS",
    "mac_iceland": "Icelandic, of a Mac",
    "iso8859_14": "Celtic",
    "iso8859_3": "South European",
    "iso8859_10": "Nordic",
    "cp1250": "Central European",
    "iso8859_2": "Central European",
    "cp852": "Central European, of DOS",
    "mac_latin2": "Central European, of a Mac",
    "mac_croatian": "Croatian, of a Mac",
    "mac_romanian": "Romanian, of a Mac",
    "iso8859_16": "Romanian",
    "cp1254": "Turkish",
    "cp857": "Turkish, of DOS",
    "mac_turkish": "Turkish, of a Mac",
    "cp1257": "Baltic",
    "iso8859_4": "Baltic",
    "cp775": "Baltic, of DOS",
    "cp1258": "Vietnamese",
    "cp1251": "Cyrillic",
    "koi8_r": "Cyrillic",
    "koi8_u": "Cyrillic",
    "iso8859_5": "Cyrillic",
    "cp866": "Cyrillic, of DOS",
    "cp1125": "Cyrillic, of DOS",
    "mac_cyrillic": "Cyrillic, of a Mac",
    "cp855": "Cyrillic, of DOS",
    "kz1048": "Kazakh",
    "ptcp154": "Kazakh",
    "cp1253": "Greek",
    "iso8859_7": "Greek",
    "cp737": "Greek, of DOS",
    "cp869": "Greek, of DOS",
    "mac_greek": "Greek, of a Mac",
    "cp1255": "Hebrew",
    "iso8859_8": "Hebrew",
    "cp862": "Hebrew, of DOS",
    "cp1256": "Arabic",
    "iso8859_6": "Arabic",
    "cp720": "Arabic, of DOS",
    "cp874": "Thai",
}


@dataclass(frozen=True)
class Guess:
    """An encoding that a text may be in: the `codec` to read it by, its `name` for a message, and its score."""

    codec: str
    name: str
    score: float


def likely_encodings(data: bytes, file_bytes: int = 0) -> list[Guess]:
    """The encodings that text with non-ASCII bytes may be in, the likeliest first; none if none is likely.

    `data` may be those lines alone of a file of `file_bytes`.
    """
    sparse = sum(byte > 127 for byte in data) < SPARSE * max(file_bytes, len(data))
    asian = [Guess(codec, name, plausibility(data, codec, weights)) for name, (codec, weights) in READINGS.items()]
    asian = [guess for guess in asian if guess.score >= LEAST_PLAUSIBLE]
    found = [guess for guess in single_byte_guesses(data, sparse) if guess.score >= LEAST_SCORE]
    found = found + asian if sparse else asian + found
    found.sort(key=lambda guess: -guess.score)
    return [guess for guess in found if guess.score >= NEXT_BEST * found[0].score][:MOST_TOLD]


def single_byte_guesses(data: bytes, sparse: bool = False) -> list[Guess]:
    """The encodings of one byte a character that `data` may be in, the likeliest first; one for each reading."""
    found: dict[str, Guess] = {}
    for codec, about in CODECS.items():
        try:
            text = data.decode(codec)[:JUDGED]
        except UnicodeDecodeError:
            continue
        if text not in found:
            found[text] = Guess(codec, f"{codec.replace('_', '-')} ({about})", score_of(text, sparse))
    return sorted(found.values(), key=lambda guess: -guess.score)


def score_of(text: str, sparse: bool = False) -> float:
    """How likely text is as one of a language, at most 1; its ASCII only says where words begin.

    In a file with `sparse` characters outside ASCII, signs are as likely as letters.
    """
    runs = [run[0] for run in re.finditer(r"[^\W\d_]*[^\x00-\x7f]+(?:[^\W\d_]|[^\x00-\x7f])*\d?", text)]
    count = sum(not c.isascii() for run in runs for c in run)
    if not count:
        return 0.0
    sign = SIGN_AMONG_ASCII if sparse else SIGN
    return max(sum(score for run in runs for score in scores_of(run, name, sign)) for name in LANGUAGES) / count


def scores_of(run: str, language: str, sign: float = SIGN) -> Iterator[float]:
    """The scores of the characters outside ASCII of a part of a text without spaces; that of a sign is `sign`."""
    weights = weights_of(language)
    for place, c in enumerate(run):
        if c.isascii():
            continue
        before, after = run[place - 1 : place], run[place + 1 : place + 2]
        if c in SIGNS:
            yield ODD_SIGN if before.isalpha() and after.isalpha() and c not in WITHIN_WORDS else sign
        elif c >= FIRST_OTHER_SCRIPT and any(x.isascii() and x.isalpha() for x in (before, after)):
            yield FOREIGN
        elif c.isupper() and not before and after.isdigit():  # a sign of money, read as a letter
            yield FOREIGN
        elif c.lower() in weights or c in weights:
            within = c.isupper() and before.islower()
            yield CAPITAL_WITHIN if within else weights.get(c, 0) or 0.8 * weights.get(c.lower(), RARE)
        else:
            yield CONTROL if ord(c) < 160 else FOREIGN


@cache
def weights_of(language: str) -> dict[str, float]:
    """The score of each letter of a language."""
    letters = LANGUAGES[language]
    return {c: 1 - (1 - RARE) * place / len(letters) for place, c in enumerate(letters)}

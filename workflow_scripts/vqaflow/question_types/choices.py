"""What the choices of a question look like: colours, numbers, names, statements."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from vqaflow.question_types.parsing import Word

KOREAN_COLOR = re.compile(
    "빨간|빨강|붉은|적색|파란|파랑|푸른|청색|노란|노랑|황색|초록|녹색|연두|보라|자주|분홍|핑크|주황|검은|검정|까만|흑색|하얀|흰|백색|하양|회색|갈색|남색|하늘색|"
    "금색|은색|베이지|아이보리|민트|카키|살구색|상아색|황금|은빛|금빛|무지개|무채색"
)
ENGLISH_COLOR = re.compile(
    r"\b(?:red|blue|green|yellow|black|white|gr[ae]y|brown|orange|pink|purple|violet|teal|cyan|magenta|beige|gold|golden|silver|navy|"
    r"turquoise|maroon|ivory)\b",
    re.IGNORECASE,
)
COLOR_PADDING = re.compile(r"색깔?|[과와빛은,/·\s]|및|진한|연한|밝은|어두운|계열|and|light|dark", re.IGNORECASE)
YES_NO = re.compile(
    r"(?:예|네|응|아니요|아니오|아뇨|참|거짓|있다|없다|있음|없음|맞다|틀리다|맞음|틀림|그렇다|아니다|"
    r"(?:있|없|맞|아닙|그렇)(?:습)?니다|yes|no|true|false|[ox]|(?:예|네|아니요|아니오|yes|no)[,. ].*)[.!]?",
    re.IGNORECASE,
)
NUMBER_WORD = (
    r"(?:\d[\d,.]*|한|두|세|네|다섯|여섯|일곱|여덟|아홉|열|열한|열두|하나|둘|셋|넷|스무|없음|"
    r"zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|none)"
)
COUNTER = (
    r"(?:개|명|마리|대|그루|송이|장|권|병|잔|층|줄|쌍|켤레|채|척|조각|가지|군데|사람|자루|벌|다발|인분|인|봉지|접시|캔|박스|칸|단|"
    r"곳|종류|알|통|그릇|겹)"
)
COUNTED = re.compile(
    rf"(?:약\s?|총\s?|about )?{NUMBER_WORD}\s?{COUNTER}?\s?(?:이다|입니다|이상|정도)?\.?", re.IGNORECASE
)
MEASURED = re.compile(
    r"(?:오전|오후|약|총|시속|[$₩€£])?\s*\d[\d,.:]*\s?(?:시|분|초|원|년|월|일|도|번|호|km|kg|ml|cm|mm|g|m|l|달러|유로|엔|위안|퍼센트|%|학년|세|살|점|"
    r"등|차|기|won|am|pm|°).*|[$₩€£]\s?\d.*|\d{1,2}:\d\d.*",
    re.IGNORECASE,
)
LATIN, HANGUL, DIGIT = re.compile("[A-Za-z]"), re.compile("[가-힣]"), re.compile(r"\d")
AT_PLACE = re.compile(
    r"(?:위|아래|앞|뒤|옆|안|밖|속|근처|사이|내부|외부|쪽|입구|에서|에|주변|중앙|가운데|상단|하단|모서리|구석)$"
)
TURNED = re.compile(
    r"(?:왼|오른)(?:쪽|편|손|발|팔|다리|눈|귀|어깨|무릎)|좌완|우완|좌측|우측|좌회전|우회전|시계\s?방향|[동서남북]쪽|직진|유턴|일방통행|\b(?:left|right|clockwise|east|west|u-turn)\b",
    re.IGNORECASE,
)
STATEMENT = re.compile(r"[가-힣]다[.!]?$")

LETTERS = "abcdefghij"  # a question has two to ten choices
MANY = 5
TESTS: dict[str, Callable[[str], object]] = {
    "yes_no": YES_NO.fullmatch,
    "color": lambda c: KOREAN_COLOR.search(c) or ENGLISH_COLOR.search(c),
    "only_color": lambda c: not COLOR_PADDING.sub("", ENGLISH_COLOR.sub("", KOREAN_COLOR.sub("", c))),
    "counted": COUNTED.fullmatch,
    "measured": MEASURED.fullmatch,
    "latin": lambda c: LATIN.search(c) and not HANGUL.search(c),
    "digit": DIGIT.search,
    "at_place": AT_PLACE.search,
    "turned": TURNED.search,
    "statement": STATEMENT.search,
    "long": lambda c: len(c) >= 12,
    "phrase": lambda c: len(c.split()) >= 3,
}


def looks(choices: Sequence[str], words: Sequence[Sequence[Word]]) -> Counter[str]:
    """How many of the choices pass each of TESTS, and how many hold a word of each kind; `words` are each choice's."""
    counts = Counter(name for choice in choices for name in _passed(choice))
    for of_choice in words:
        counts.update({f"tag {word.tag}" for word in of_choice})
        counts.update({f"{min(len(of_choice), MANY)} words"})
    return counts


@lru_cache(maxsize=1 << 16)
def _passed(choice: str) -> tuple[str, ...]:
    """Names of the tests that a choice passes; tables repeat theirs."""
    return tuple(name for name, test in TESTS.items() if test(choice))


def is_turned(texts: Sequence[str]) -> bool:
    """Whether any of the texts tells left from right."""
    return any(map(TURNED.search, texts))

"""Texts in the encodings of East Asia: what reads as Korean, Chinese or Japanese.

They share their byte area: Chinese or Japanese text decodes as CP949 without an error, as Korean syllables and Hanja
that nobody writes side by side. So CP949 is accepted only for text that reads as Korean.
"""

import codecs
from collections.abc import Callable, Iterator
from functools import cache

LEAST_HANGUL = 0.5  # of the non-ASCII letters of a Korean text: Hanja, kana and jamo may be among its choices
LEAST_COMMON = 0.7  # of the syllables of a Korean text; real tables have 0.95 and more, misread ones 0.4 and less
RARE = 0.3  # what a rare character counts, compared with a common one
# Syllables of everyday Korean. They make up more than 95 % of a longer text, and are a fifth of those that exist.
COMMON_SYLLABLES = frozenset(
    "가각간갈감강갖같개객거건걸검것게겠겨격견결경계고곡곳공과관광괜교구국군궁권귀그극근글금급기긴길김까깔깨꺼껴꼬꽃꾸끄끝끼"
    "나낌난날남납낮낸내낼냄냉너널넘넣네넷년념노녹논놀농높놓누눈느는늘능니닌님다단달닭담답당대더던덕덮데델도독돈돌동되된될됩두"
    "둘둥뒤드득든들듯등디따딱때떠떤떨또뚜뛰뜨라락란람랍랑래랜램량러럭런럼렇레렌려력련령례로록론료루류륙률르른를름리린림립링"
    "마막만많말맛망맞매맥맨머먹면명몇메모목몸못무묵문물뭐므미민믹밀밑바박밖반받발밝밥방배백버번벌범법벽변별병보복본볼봄봉부북"
    "분불브블비빈빌빛빙빠빨빵뻐뿌사산살삼상새색샌샐생서석선설섬성세센셔소속손솔송쇼수숙순술숫쉬스슨슬습승시식신실심십싱싸쌀"
    "써쓰쓴쓸씨씻아악안앉않알암압았앞애액야약양어억언얼엄업없엇었에엔엘여역연열염영옆예오옥온올옷와완왕외요용우운울움웃워원월"
    "위유육율으은을음응의이인일읽임입있잎자작잔잘잠잡장재저적전절점접정제져조족존종좋좌죠주죽준줄중즈즉증지직진질짐집짜째쪽"
    "찌차착찬찰참창찾채책처천철청체초촉총최추축출춤충치친칠침카칸캔캠커컨컬컵케켓코콜쿠크큰클키킨킹타탁탄태택터턱턴테텔템"
    "토톤통투트특튼틀티틱팀파판팔팩팬퍼페펜편평포폰표푸품풍프플피필하학한할함합항해했행향험혀현형호혼홍화확환활황회횟효후"
    "훈흐흑흘흥희흰히힘"
)
# What Korean keyboards and editors put among letters; a table in English may have nothing else that is not ASCII.
KOREAN_SIGNS = frozenset(
    "①②③④⑤⑥⑦⑧⑨⑩⑪⑫⑬⑭⑮ⓐⓑⓒⓓⓔ㉠㉡㉢㉣㉮㉯㉰㉱ⅠⅡⅢⅣⅤ℃℉％‰㎜㎝㎞㎏㎎㎖ℓ㎡㎥㏄‘’“”…·×÷±≠≤≥∞√∠⊥°′″→←↑↓↔⇒※★☆○●◎◇◆□■△▲▽▼♡♥♠♣"
    "〈〉《》「」『』【】～，．：；？！（）￦￥€½⅓¼²³"
)


def is_korean(text: str) -> bool:
    """Whether text that was decoded as CP949 reads as Korean: mostly Hangul, and mostly everyday syllables.

    A text whose only characters outside ASCII are signs that Korean keyboards and editors write reads as Korean, too.
    """
    if all(c in KOREAN_SIGNS for c in text if not c.isascii()):
        return True
    letters = [c for c in text if not c.isascii() and c.isalpha()]
    hangul = [c for c in letters if "가" <= c <= "힣"]
    common = sum(c in COMMON_SYLLABLES for c in hangul)
    return bool(hangul) and len(hangul) >= LEAST_HANGUL * len(letters) and common >= LEAST_COMMON * len(hangul)


def plausibility(data: bytes, encoding: str, weights: Callable[[str], Iterator[float]]) -> float:
    """How common the non-ASCII characters are that `data` has in `encoding`, from 0 to 1; 0 if it does not decode."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return 0.0
    found = list(weights("".join(c for c in text if not c.isascii())))
    return sum(found) / len(found) if found else 0.0


def korean_weights(text: str) -> Iterator[float]:
    """Everyday syllables count."""
    return (float(c in COMMON_SYLLABLES) for c in text)


def simplified_weights(text: str) -> Iterator[float]:
    """GB 2312 has its common characters in rows 16 to 55 and its punctuation in rows 1 to 3."""
    return (row_weight(c, "gb2312", 0xA0, (1, 3), (16, 55)) for c in text)


def traditional_weights(text: str) -> Iterator[float]:
    """Big5 has its common characters under the lead bytes A4 to C6 and its punctuation under A1 to A3."""
    return (row_weight(c, "big5", 0, (0xA1, 0xA3), (0xA4, 0xC6)) for c in text)


def japanese_weights(text: str) -> Iterator[float]:
    """JIS X 0208 has kana in rows 4 and 5, common kanji in rows 16 to 47. Kana are what tells Japanese from Chinese."""
    kana = sum("\u3041" <= c <= "\u30fc" for c in text)
    share = 1.2 if 5 * kana >= len(text) else 0.6
    return (share * row_weight(c, "euc_jp", 0xA0, (1, 5), (16, 47)) for c in text)


@cache
def row_weight(character: str, encoding: str, offset: int, signs: tuple[int, int], letters: tuple[int, int]) -> float:
    """1 for a character in the rows of signs or of common letters, RARE for another of `encoding`, else 0."""
    try:
        code = character.encode(encoding)
    except UnicodeEncodeError:
        return 0.0
    row = code[0] - offset
    if len(code) != 2:
        return 0.0
    kana_of_gb = encoding == "gb2312" and row in (4, 5)
    common = signs[0] <= row <= signs[1] or letters[0] <= row <= letters[1]
    return 1.0 if common else 0.0 if kana_of_gb else RARE


READINGS: dict[str, tuple[str, Callable[[str], Iterator[float]]]] = {
    "GBK (simplified Chinese)": ("gb18030", simplified_weights),
    "Big5 (traditional Chinese)": ("big5hkscs", traditional_weights),
    "EUC-JP (Japanese)": ("euc_jis_2004", japanese_weights),
    "Shift_JIS (Japanese)": ("cp932", japanese_weights),
    "Johab (Korean)": ("johab", korean_weights),
}

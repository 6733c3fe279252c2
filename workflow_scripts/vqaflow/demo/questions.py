"""The demo's wording: easy-VQA's questions and answer words in Korean, and questions about digits.

easy-VQA asks 107 different English questions, each one of twelve forms around a thing: "shape", a shape, or a coloured
shape. FORMS gives each form its kind and its Korean wording. All Korean nouns used here end in a consonant, so that the
particles 은, 이 and 의 fit each of them.
"""

import re

LANGUAGES = ("en", "ko")
KINDS = ("color", "shape", "yesno", "digit")

COLORS = {
    "black": "검은색",
    "blue": "파란색",
    "brown": "갈색",
    "gray": "회색",
    "green": "초록색",
    "red": "빨간색",
    "teal": "청록색",
    "yellow": "노란색",
}
SHAPES = {"circle": "원", "rectangle": "직사각형", "triangle": "삼각형"}
OTHER_SHAPES = {"star": "별", "hexagon": "육각형", "crescent": "초승달"}  # fourth choices that easy-VQA never draws
YES_NO = {"yes": "예", "no": "아니요"}
NEITHER = {"cannot tell": "알 수 없음", "not applicable": "해당 없음"}  # third and fourth choices of yes/no questions
DIGITS = {str(digit): str(digit) for digit in range(10)}
KOREAN = {**COLORS, **SHAPES, **OTHER_SHAPES, **YES_NO, **NEITHER, **DIGITS, "shape": "도형"}

THING = r"(?P<thing>[a-z]+(?: shape)?)"
FORMS = [
    (rf"what color is the {THING}\?", "color", "{thing}은 무슨 색인가요?"),
    (rf"what is the color of the {THING}\?", "color", "{thing}의 색은 무엇인가요?"),
    (rf"what is the {THING}\?", "shape", "{thing}은 어떤 모양인가요?"),
    (r"what shape is present\?", "shape", "어떤 모양이 보이나요?"),
    (r"what shape is in the image\?", "shape", "이미지에 어떤 모양이 있나요?"),
    (r"what shape does the image contain\?", "shape", "이미지에 들어 있는 모양은 무엇인가요?"),
    (rf"is there an? {THING}( in the image)?\?", "yesno", "{where}{thing}이 있나요?"),
    (rf"is there not an? {THING}( in the image)?\?", "yesno", "{where}{thing}이 없나요?"),
    (rf"does the image contain an? {THING}\?", "yesno", "이미지에 {thing}이 들어 있나요?"),
    (rf"does the image not contain an? {THING}\?", "yesno", "이미지에 {thing}이 들어 있지 않나요?"),
    (rf"is an? {THING} present\?", "yesno", "{thing}이 보이나요?"),
    (rf"is no {THING} present\?", "yesno", "{thing}이 보이지 않나요?"),
]
DIGIT_QUESTIONS = {
    "en": (
        "what digit is written in the image?",
        "which digit does the image show?",
        "what is the handwritten digit?",
    ),
    "ko": (
        "이미지에 쓰인 숫자는 무엇인가요?",
        "이미지가 보여 주는 숫자는 무엇인가요?",
        "손으로 쓴 이 숫자는 무엇인가요?",
    ),
}


def kind_and_korean(question: str) -> tuple[str, str]:
    """The kind (color, shape or yesno) of an English question of easy-VQA and its Korean wording."""
    for pattern, kind, korean in FORMS:
        found = re.fullmatch(pattern, question)
        if found:
            thing = found.groupdict().get("thing")
            where = "이미지에 " if "in the image" in question else ""
            return kind, korean.format(thing=_thing_in_korean(thing) if thing else "", where=where)
    raise AssertionError(f"easy-VQA has a question of an unknown form: {question!r}")


def _thing_in_korean(thing: str) -> str:
    return " ".join(KOREAN[word] for word in thing.split())


def answer_family(kind: str) -> tuple[list[str], list[str]]:
    """The answers that questions of `kind` can have (English), and words that are only used as wrong choices."""
    return {
        "color": (list(COLORS), []),
        "shape": (list(SHAPES), list(OTHER_SHAPES)),
        "yesno": (list(YES_NO), list(NEITHER)),
        "digit": (list(DIGITS), []),
    }[kind]

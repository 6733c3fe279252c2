"""What the tiny base model is asked while it is pre-trained: words and wordings of the generated world.

Words come in two sorts. GROUNDED words are asked about pictures, so the model learns what they look like. UNGROUNDED
words (the school words of the demo: circle, 직사각형, teal, …) only occur in questions that name the word itself, as
text to read: the model can find them among choices, but what they look like is left for fine-tuning to teach.
"""

from dataclasses import dataclass

from vqaflow.demo.tiny_base.pictures import COLORS, LOCATIONS, SHAPES

LANGUAGES = ("en", "ko")
Concepts = list[tuple[str, ...]]  # the synonyms of each concept, in the order of the pictures' facts

COLOR_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "red": ("red",),
        "green": ("green",),
        "blue": ("blue",),
        "black": ("black",),
        "gray": ("grey", "ash"),
        "teal": ("turquoise",),
        "brown": ("chestnut",),
        "yellow": ("yellow",),
        "orange": ("orange",),
        "purple": ("purple", "violet"),
        "pink": ("pink",),
        "white": ("white",),
    },
    "ko": {
        "red": ("빨간색", "빨강"),
        "green": ("초록색", "녹색"),
        "blue": ("파란색", "파랑"),
        "black": ("검은색", "검정"),
        "gray": ("잿빛",),
        "teal": ("옥색",),
        "brown": ("밤색",),
        "yellow": ("노란색", "노랑"),
        "orange": ("주황색",),
        "purple": ("보라색",),
        "pink": ("분홍색",),
        "white": ("흰색", "하얀색"),
    },
}
SHAPE_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "round": ("disc", "ball"),
        "four-sided": ("box", "block"),
        "three-sided": ("wedge", "pyramid"),
        "star": ("star",),
        "cross": ("cross", "plus"),
        "ring": ("ring",),
        "moon": ("moon",),
    },
    "ko": {
        "round": ("동그라미", "둥근 것"),
        "four-sided": ("네모", "상자"),
        "three-sided": ("세모", "세모꼴"),
        "star": ("별",),
        "cross": ("십자", "더하기표"),
        "ring": ("고리",),
        "moon": ("달",),
    },
}
DIGIT_WORDS = {
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "ko": ("영", "일", "이", "삼", "사", "오", "육", "칠", "팔", "구"),
}
COUNT_WORDS = {"en": ("one", "two", "three", "four"), "ko": ("한 개", "두 개", "세 개", "네 개")}
LOCATION_WORDS = {
    "en": (("top left", "upper left"), ("top right", "upper right"), ("bottom left", "lower left"), ("bottom right",)),
    "ko": (("왼쪽 위",), ("오른쪽 위",), ("왼쪽 아래",), ("오른쪽 아래",)),
}
# (what affirms, what denies); the same words serve as the answers of statements.
YES_NO = {
    "en": (("yes", "no"), ("true", "false"), ("right", "wrong")),
    "ko": (("예", "아니요"), ("네", "아니오"), ("맞다", "틀리다"), ("참", "거짓")),
}
NEITHER = {
    "en": ("cannot tell", "not applicable", "unknown", "both", "neither"),
    "ko": ("알 수 없음", "해당 없음", "모름", "둘 다", "판단 불가"),
}
UNGROUNDED = {
    "en": ("circle", "rectangle", "triangle", "hexagon", "crescent", "gray", "teal", "brown", "oval", "diamond"),
    "ko": ("원", "직사각형", "삼각형", "육각형", "초승달", "회색", "청록색", "갈색", "타원", "마름모"),
}


def family(fact: str, language: str) -> Concepts:
    """The words for each value of `fact` (a key of the pictures' facts)."""
    if fact == "color":
        return [COLOR_WORDS[language][name] for name in COLORS]
    if fact == "shape":
        return [SHAPE_WORDS[language][name] for name in SHAPES]
    if fact == "digit":
        return [(str(digit), DIGIT_WORDS[language][digit]) for digit in range(10)]
    if fact == "count":
        return [(str(number), COUNT_WORDS[language][number - 1]) for number in range(1, 5)]
    return [LOCATION_WORDS[language][i] for i in range(len(LOCATIONS))]


@dataclass(frozen=True)
class Wording:
    """One question about a picture.

    `fact` is what it asks for; `given` = (fact, value) is what the picture must show for the question to make sense. A
    yes/no question has `claim` = (fact, value), and `negated` if it claims the contrary.
    """

    text: str
    fact: str
    language: str
    given: tuple[str, int] | None = None
    claim: tuple[str, int] | None = None
    negated: bool = False


# {thing}: a shape's word, {hue}: a colour's word; a wording with one of them is asked for every such word.
OPEN_WORDINGS = {
    ("color", "en"): (
        "what color is it?",
        "what color is the figure?",
        "which color do you see?",
        "what is the color of the object?",
        "name the color of this picture's object.",
        "what color is the {thing}?",
        "what is the color of the {thing}?",
        "the {thing} has which color?",
    ),
    ("color", "ko"): (
        "무슨 색인가요?",
        "도형의 색은 무엇인가요?",
        "이 물체는 어떤 색인가요?",
        "그림에서 보이는 색을 고르세요.",
        "어떤 색으로 칠해져 있나요?",
        "{thing}의 색은 무엇인가요?",
        "{thing_topic} 무슨 색인가요?",
    ),
    ("shape", "en"): (
        "what is it?",
        "which figure do you see?",
        "what is drawn here?",
        "what shape is this?",
        "which form does the picture show?",
        "what is the {hue} thing?",
        "what is the {hue} figure?",
    ),
    ("shape", "ko"): (
        "무엇이 그려져 있나요?",
        "어떤 도형인가요?",
        "그림에 있는 것은 무엇인가요?",
        "이 모양의 이름을 고르세요.",
        "어떤 모양인가요?",
        "{hue} 물체는 무엇인가요?",
        "{hue} 도형은 무엇인가요?",
    ),
    ("digit", "en"): (
        "what digit is it?",
        "which digit do you see?",
        "read the number.",
        "what number is written here?",
        "which numeral is shown?",
    ),
    ("digit", "ko"): (
        "어떤 숫자인가요?",
        "숫자를 읽으세요.",
        "쓰여 있는 숫자는 몇인가요?",
        "그림의 숫자는 무엇인가요?",
        "보이는 숫자를 고르세요.",
    ),
    ("count", "en"): (
        "how many are there?",
        "how many figures do you see?",
        "count the objects.",
        "how many {thing}s?",
    ),
    ("count", "ko"): (
        "몇 개인가요?",
        "도형은 모두 몇 개 있나요?",
        "물체의 수를 세세요.",
        "{thing_subject} 몇 개인가요?",
    ),
    ("location", "en"): (
        "where is it?",
        "where is the figure?",
        "in which corner is the object?",
        "where is the {thing}?",
    ),
    ("location", "ko"): (
        "어디에 있나요?",
        "도형의 위치는 어디인가요?",
        "물체는 어느 쪽에 있나요?",
        "{thing_topic} 어디에 있나요?",
    ),
}
# {word}: the word of the claimed value; (wording, negated)
CLOSED_WORDINGS = {
    ("color", "en"): (
        ("is it {word}?", False),
        ("is the figure {word}?", False),
        ("is something {word} here?", False),
        ("do you see a {word} object?", False),
        ("does the picture show a {word} thing?", False),
        ("is it not {word}?", True),
        ("the object is not {word}. true?", True),
    ),
    ("color", "ko"): (
        ("{word}인가요?", False),
        ("이 도형은 {word}인가요?", False),
        ("{word} 물체가 보이나요?", False),
        ("그림에 {word} 도형이 있나요?", False),
        ("{word}이 아닌가요?", True),
        ("이 물체는 {word}이 아니다. 맞나요?", True),
    ),
    ("shape", "en"): (
        ("is it a {word}?", False),
        ("do you see a {word}?", False),
        ("is a {word} drawn here?", False),
        ("does the picture show a {word}?", False),
        ("is it not a {word}?", True),
        ("this is not a {word}. true?", True),
    ),
    ("shape", "ko"): (
        ("{word}인가요?", False),
        ("{word_subject} 보이나요?", False),
        ("그림에 {word_subject} 있나요?", False),
        ("이 도형은 {word}인가요?", False),
        ("{word_subject} 아닌가요?", True),
        ("이 그림은 {word_subject} 아니다. 맞나요?", True),
    ),
    ("digit", "en"): (
        ("is it a {word}?", False),
        ("is the digit {word}?", False),
        ("is it not {word}?", True),
    ),
    ("digit", "ko"): (
        ("숫자 {word}인가요?", False),
        ("이 숫자는 {word}인가요?", False),
        ("숫자 {word}: 이것이 아닌가요?", True),
    ),
}
NAMING_WORDINGS = {
    "en": ("which choice says {word}?", "find the word {word}.", "pick {word}."),
    "ko": ("{word}: 같은 말을 고르세요.", "다음 중 '{word}' 고르기", "{word}라고 쓴 것은 무엇인가요?"),
}
# Texts for the tokenizer only: everyday words of questions, so that prompts in other words stay short.
TOKENIZER_WORDS = {
    "en": (
        "image images shape shapes contain contains present there does not any is are was has have a an the in "
        "on of to written handwritten digit digits number picture photo person people man woman child dog cat "
        "car bus street building house room table food water tree sky sign text letter word name color colors "
        "left right front behind near many how what which who where when why answer question choose best correct "
        "option only one with letter you about pictures helpful assistant user system following image shows "
        "describe yes no"
    ),
    "ko": (
        "이미지 사진 그림 화면 속 안에 위에 아래 옆에 앞에 뒤에 가운데 왼쪽 오른쪽 있는 없는 보이는 들어 있나요 "
        "없나요 않나요 보이나요 무엇인가요 무엇입니까 어떤 어느 어디 누가 누구 몇 개 명 마리 대 색상 색깔 색은 "
        "모양 모양은 모양이 도형 도형이 도형은 숫자 숫자는 글자 글씨 손글씨 손으로 쓴 쓰인 적힌 이름 사람 남자 "
        "여자 아이 동물 강아지 고양이 자동차 버스 기차 자전거 도로 거리 건물 집 방 음식 과일 나무 꽃 하늘 바다 "
        "산 간판 표지판 시계 옷 모자 가방 책 책상 의자 컵 병 정답 기호 하나만 쓰세요 고르세요 다음 중 질문 보기 "
        "가장 알맞은 것은 것을 것이 입니다 합니다 인가요 입니까 보여 주는 이 그 저 는 은 을 를 가 의 에 에서 "
        "으로 와 과"
    ),
}


def wordings() -> list[Wording]:
    """Every question about a picture, with each word filled in."""
    found = []
    for (fact, language), texts in OPEN_WORDINGS.items():
        for text in texts:
            found += [Wording(filled, fact, language, given) for filled, given in _filled(text, language)]
    for (fact, language), texts in CLOSED_WORDINGS.items():
        for value, words in enumerate(family(fact, language)):
            for text, negated in texts:
                found += [
                    Wording(_with_word(text, "word", w), "yesno", language, None, (fact, value), negated) for w in words
                ]
    return found


def _filled(text: str, language: str) -> list[tuple[str, tuple[str, int] | None]]:
    for slot, fact in (("thing", "shape"), ("hue", "color")):
        if "{" + slot in text:
            values = enumerate(family(fact, language))
            return [(_with_word(text, slot, word), (fact, value)) for value, words in values for word in words]
    return [(text, None)]


def _with_word(text: str, slot: str, word: str) -> str:
    closed = has_final_consonant(word)
    return text.format(
        **{
            slot: word,
            f"{slot}_topic": word + ("은" if closed else "는"),
            f"{slot}_subject": word + ("이" if closed else "가"),
        }
    )


def has_final_consonant(word: str) -> bool:
    """Whether a Korean word ends in a consonant, which decides the form of the particle after it."""
    last = ord(word[-1]) - ord("가")
    return 0 <= last < 11172 and last % 28 > 0

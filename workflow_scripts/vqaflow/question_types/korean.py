"""Reading the parts of a Korean question from its morphemes, as Kiwi (Lee Minchul's analyser) splits and tags them."""

import re
from collections.abc import Sequence
from itertools import pairwise

from vqaflow.question_types.parts import NOTHING, QuestionParts, without_other
from vqaflow.question_types.words import COUNTERS, KNOWN_NOUNS, KOREAN_NOUNS, korean_noun, korean_verb

Morpheme = tuple[str, str, int]  # form, tag without the mark of irregular verbs, position in the question
QUESTION_WORDS = {
    "무엇": "WHAT",
    "뭐": "WHAT",
    "무어": "WHAT",
    "어디": "WHERE",
    "누구": "WHO",
    "누": "WHO",
    "몇": "COUNT",
    "어떤": "WHICH",
    "어느": "WHICH",
    "무슨": "WHICH",
    "얼마": "AMOUNT",
    "얼마나": "AMOUNT",
    "언제": "WHEN",
    "어떻": "HOW",
    "어떠": "HOW",
    "왜": "WHY",
}
QUESTION_TAGS = {"NP", "MM", "VA", "MAG", "NNG", "NR", "IC"}
NOUN_TAGS = {"NNG", "NNP", "NNB", "NR", "SL", "SN", "XR", "XSN"}
VERB_TAGS = {"VV", "VA", "VX", "XR", "XSV", "MAG", "EC"}  # EC for 어야, "must"
ROLES = {"VCP": "PREDICATE", "JKO": "OBJECT", "JKB": "ADVERB", "JKS": "SUBJECT"}
LOCATIVE = {"에", "에서", "으로", "로", "에게"}
NAMES_ONLY = {"역", "길", "거리", "골목", "도로", "신문"}  # "무슨 역" asks for its name, "무슨 가게" for its kind
# 적 (few) looks like 적 (write), and 하 makes a verb from a noun; the noun says what is done.
NO_VERBS = {("적", "VA"), ("하", "XSV"), ("하", "XSA")}
SAYING = {"되", "하", "설명", "안내", "경고", "소개", "쓰", "적히", "나오"}
FUTURE_PARTICIPLE = "\N{HANGUL JONGSEONG RIEUL}"
PAST_PARTICIPLE = "\N{HANGUL JONGSEONG NIEUN}"
PLURAL = "XSN"
# "In this picture", with which most questions open, says nothing about the type.
FRAME = re.compile(
    r"\s*(?:(?:이|다음|위|아래)\s+)?(?:사진|이미지|그림)들?(?:\s?[속상])?(?:에서는|에서|에는|에|의|은|는|이|을)?\s+"
    r"(?:(?:보이는|볼\s?수\s?있는|보여지는|나온|나타난|있는|등장하는|찍힌)\s+)?"
)


def korean_parts(text: str, morphemes: Sequence[Morpheme]) -> QuestionParts:
    """The parts of the question `text`, whose `morphemes` Kiwi found."""
    frame = FRAME.match(text)
    start = frame.end() if frame else 0
    words = _compounds([m for m in morphemes if m[2] >= start])
    at = next((i for i, (form, tag) in enumerate(words) if form in QUESTION_WORDS and tag in QUESTION_TAGS), None)
    common = {"nouns": _nouns(words), "verbs": _verbs(words), "at_relation": _at_relation(words)}
    common["asks_leave"] = _asks_leave(words)
    if at is None:  # "… 옳은 것은?" leaves the question word out; "… 있나요?" asks for no noun
        ends_in_topic = [tag for _, tag in words if tag not in ("SF", "SP")][-1:] == ["JX"]
        head, modifiers = _topic(words, len(words)) if ends_in_topic else ("", [])
        return QuestionParts(head=_classes([head]) if head else NOTHING, modifiers=_classes(modifiers), **common)
    word = QUESTION_WORDS[words[at][0]]
    following = words[at + 1] if at + 1 < len(words) else ("", "")
    role = ROLES.get(following[1], "NONE")
    if word == "WHAT" and following[0] in KOREAN_NOUNS["RELATION"]:  # "무엇 위에 앉아 있나요?"
        word, role = "WHERE", "ADVERB"
    head, modifiers, asks_kind, counts_things = "", [], False, False
    topic, of_topic = _topic(words, at)
    if word in ("WHICH", "COUNT") or (word == "WHERE" and following[1] in ("NNG", "NNP")):
        role = "DETERMINER"
        head, modifiers, asks_kind = _determined(words, at)
        common["at_head"] = any(pair == (head, place) for pair in _pairs(words[at:]) for place in ("에", "에서"))
        counts_things = word == "COUNT" and head in COUNTERS and "VALUE" not in korean_noun(topic)
        if head == "층" and topic and "BUILDING" not in korean_noun(topic):
            counts_things = False  # the floor that something is on
        named = words[at][0] == "어느" or topic.endswith(head) or head in NAMES_ONLY
        common["asks_which"] = bool(head) and named and not asks_kind
        if maker := _maker(words, at, head, modifiers):
            word, head, modifiers = "WHICH", maker, [topic, *of_topic]
    if not head:
        head, modifiers = topic, of_topic
    return QuestionParts(
        word=word,
        role=role,
        head=_classes([head]) if head else NOTHING,
        modifiers=_classes(modifiers),
        main_verbs=_verbs(words[at + 1 :]),
        asks_kind=asks_kind or head in KOREAN_NOUNS["KIND"],
        counts_things=counts_things,
        **common,
    )


def _compounds(morphemes: list[Morpheme]) -> list[tuple[str, str]]:
    """Forms and tags, with nouns that are written together put together where that makes a known word (도로 + 명)."""
    words: list[tuple[str, str]] = []
    end = -1
    for form, tag, position in morphemes:
        together = words[-1][0] + form if words else ""
        if position == end and tag in NOUN_TAGS and words[-1][1] in NOUN_TAGS and together in KNOWN_NOUNS:
            words[-1] = (together, "NNG")
        else:
            words.append((form, tag))
        end = position + len(form)
    return words


def _classes(forms: list[str]) -> frozenset[str]:
    return NOTHING.union(*map(korean_noun, forms))


def _nouns(words: list[tuple[str, str]]) -> frozenset[str]:
    """Classes of all nouns except those that only mark a place, such as the sign in "간판 앞에"."""
    found: set[str] = set()
    for i, (form, tag) in enumerate(words):
        relation, particle = [*(form for form, _ in words[i + 1 : i + 3]), "", ""][:2]
        is_landmark = relation in KOREAN_NOUNS["RELATION"] and particle in LOCATIVE
        if tag in NOUN_TAGS - {"NNB"} and (form in KOREAN_NOUNS["RELATION"] or not is_landmark):
            found |= korean_noun(form)
    return without_other(found)


def _verbs(words: list[tuple[str, str]]) -> frozenset[str]:
    """Classes of verbs, and of the nouns before 하다 and 되다."""
    found: set[str] = set()
    for (form, tag), (_, after) in pairwise([*words, ("", "")]):
        if (form, tag) in NO_VERBS:
            continue
        if tag in VERB_TAGS or after in ("XSV", "XSA"):
            found |= korean_verb(form)
    forms = [form for form, _ in words]
    if _is_written(forms) or _is_quoted(words):
        found.add("READ")
    if ("안", "되") in pairwise(forms):
        found.add("FORBID")
    return frozenset(found)


def _is_written(forms: list[str]) -> bool:
    """Whether 쓰다 and 쓰이다 mean writing: 써 있는, 쓰여진, 쓰인 글; not to wear (쓰고 있는) or be used (쓰이는)."""
    for i, form in enumerate(forms):
        after, then = [*forms[i + 1 : i + 3], "", ""][:2]
        if form in ("쓰", "쓰이", "씌이") and after == "어" and then in ("있", "지"):
            return True
        if form == "쓰이" and after == PAST_PARTICIPLE and korean_noun(then) & {"TEXT", "VALUE", "NAME", "THING"}:
            return True
    return False


def _is_quoted(words: list[tuple[str, str]]) -> bool:
    """Whether the picture says so: "… 라고 되어 있나요", "… 자고 하는 것", "안내에 따르면"; not "… 다고 할 수 있는"."""
    for i, (form, tag) in enumerate(words):
        after, then = [*(form for form, _ in words[i + 1 : i + 3]), "", ""][:2]
        if tag == "EC" and form.endswith(("라고", "다고", "자고")) and after in SAYING and then != FUTURE_PARTICIPLE:
            return True
        if (form, after) in (("따르", "면"), ("의하", "면")):
            return True
    return False


def _at_relation(words: list[tuple[str, str]]) -> bool:
    """Whether something stands, lies, … (with a word that qualifies a noun) 위에, 왼쪽에, …"""
    for i in range(len(words) - 3):
        if words[i][0] in KOREAN_NOUNS["RELATION"] and words[i + 1][0] in LOCATIVE:
            verb = next((j for j in range(i + 2, len(words)) if words[j][1] not in ("MAG", "JX")), i)
            if not any(tag == "ETM" for _, tag in words[verb : verb + 7]):
                continue
            says = korean_verb(words[verb][0])  # "옆에 보이는 것" asks by place, "옆에 보이는 나무" for a tree
            of_thing = any(form in KOREAN_NOUNS["THING"] for form, _ in words[verb : verb + 3])
            if "STAND" in says or ("SEEN" in says and of_thing):
                return True
    return False


def _asks_leave(words: list[tuple[str, str]]) -> bool:
    """Whether 수 있다 or 수 없다 (can, cannot) goes with a verb such as 주차하다 that a notice is about."""
    for i, (form, tag) in enumerate(words):
        if form == "수" and tag == "NNB" and any("PERMIT" in korean_verb(w) for w, _ in words[max(i - 3, 0) : i]):
            return True
    return False


def _pairs(words: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each form with the next."""
    return [(form, after) for (form, _), (after, _) in pairwise(words)]


def _determined(words: list[tuple[str, str]], at: int) -> tuple[str, list[str], bool]:
    """The noun that 어떤, 어느, 무슨 or 몇 at `at` goes with, what qualifies it, and whether a kind is asked for."""
    first = next((i for i in range(at + 1, len(words)) if words[i][1] in NOUN_TAGS), None)
    if first is None:
        return "", [], False
    last = _run_of_nouns(words, first)
    head = words[last][0]
    if head not in KOREAN_NOUNS["KIND"]:
        return head, [form for form, _ in words[first:last]], False
    if last + 2 < len(words) and words[last + 1][0] == "의" and words[last + 2][1] in NOUN_TAGS:
        return words[_run_of_nouns(words, last + 2)][0], [], True
    return "", [], True  # "… 는 어떤 종류인가요?": the topic is what is asked for


def _maker(words: list[tuple[str, str]], at: int, head: str, modifiers: list[str]) -> str:
    """The noun for the owner or maker, if that is asked: "어느 회사의 제품", "어느 백화점 것", "어디 제품"; else ""."""
    is_thing = head in KOREAN_NOUNS["GOODS"] | KOREAN_NOUNS["THING"]
    for form in (*modifiers, head):
        if "BRAND" in korean_noun(form) or (is_thing and "BUSINESS" in korean_noun(form)):
            return form
    return "회사" if is_thing and words[at][0] == "어디" else ""


def _run_of_nouns(words: list[tuple[str, str]], first: int) -> int:
    last = first
    while last + 1 < len(words) and words[last + 1][1] in NOUN_TAGS - {PLURAL}:
        last += 1
    return last


def _topic(words: list[tuple[str, str]], at: int) -> tuple[str, list[str]]:
    """The head noun of the topic or subject before the question word at `at`, and the nouns that qualify it."""
    last = next((i for i in range(at - 1, 0, -1) if words[i][1] in ("JX", "JKS")), at) - 1
    head, modifiers, before = _noun_phrase(words, last)
    if head in KOREAN_NOUNS["THING"]:
        chosen = _chosen_from(words, before)
        if chosen is not None:
            return _noun_phrase(words, chosen)[:2]
    return head, modifiers


def _noun_phrase(words: list[tuple[str, str]], last: int) -> tuple[str, list[str], int]:
    """Head noun of the phrase that ends at `last`, the nouns that qualify it, and the position before the phrase."""
    head, modifiers = "", []
    for i in range(last, -1, -1):
        form, tag = words[i]
        if tag == PLURAL and form == "들":
            continue
        if tag in NOUN_TAGS:
            if head:
                modifiers.append(form)
            else:
                head = form
        elif not (head and tag in ("JKG", "JC") and i and words[i - 1][1] in NOUN_TAGS):
            return head, modifiers, i
    return head, modifiers, -1


def _chosen_from(words: list[tuple[str, str]], before: int) -> int | None:
    """The position of the noun that "토핑으로 알맞은 것" or "색깔이 아닌 것" really asks for; None without one.

    `before` is the position before 것.
    """
    clause = range(before, max(before - 6, 0), -1)
    verb = next((i for i in clause if korean_verb(words[i][0]) & {"CHOOSE", "SEEN"}), None)
    if verb is None:
        return None
    particles = ("으로", "로") if "SEEN" in korean_verb(words[verb][0]) else ("으로", "로", "이", "가")
    marked = (i for i in range(verb - 1, max(verb - 4, 0), -1) if words[i][0] in particles and words[i][1][0] == "J")
    found = next(marked, None)
    return None if found is None else found - 1

"""The yes-or-no features from which the model decides the type of a question.

They name classes of words and looks of choices, never single words. So the weights learned from a few hundred labelled
questions also hold for words, and for a language, that are not among them.
"""

from vqaflow.question_types.guide import Row, mirror_matters, most_of

# Looks of choices that mean something else with each noun asked for.
TELLING = (
    "proper",
    "latin",
    "sign_name",
    "looks_name",
    "statement",
    "digit",
    "turned",
    "at_place",
    "labelled",
    "famous",
    "vehicle",
)
PAIRED_HEADS = {"NAME", "BRAND", "TEXT", "VALUE", "TRAFFICSIGN", "THING", "PLACE"}
PAIRED_NOUNS = {"BUSINESS", "PRODUCT", "LOOKS", "SIGN", "TRAFFICSIGN"}


def features(row: Row) -> set[str]:
    """Names of the features that hold for `row`."""
    found = _of_question(row) | _of_choices(row)
    if mirror_matters(row):
        found.add("mirror matters")
    return found


def _of_question(row: Row) -> set[str]:
    parts = row.parts
    found = {f"guide={row.guide}", f"word={parts.word}", f"role={parts.role}"}
    of = parts.modifiers or {"NOTHING"}
    found |= {f"head={c}" for c in parts.head} | {f"of={c}" for c in of}
    found |= {f"head={c} of={m}" for c in parts.head & PAIRED_HEADS for m in of}
    found |= {f"noun={c}" for c in parts.nouns} | {f"guide={row.guide}, noun={c}" for c in parts.nouns & PAIRED_NOUNS}
    found |= {f"verb={c}" for c in parts.verbs} | {f"says={c}" for c in parts.main_verbs}
    if parts.asks_kind:
        found.add("asks kind")
    if parts.at_relation:
        found |= {"at relation"} | {f"at relation, head={c}" for c in parts.head}
    return found


def _of_choices(row: Row) -> set[str]:
    parts, most = row.parts, most_of(row.choices)
    found = {f"some {name}" for name, count in row.choices.items() if count} | {f"most {name}" for name in most}
    looks = [f"most {name}" for name in TELLING if name in most] or ["plain choices"]
    what = [f"head={c}" for c in parts.head] + [f"noun={c}" for c in parts.nouns & PAIRED_NOUNS]
    return found | {f"{asked}, {look}" for asked in (*what, f"guide={row.guide}") for look in looks}

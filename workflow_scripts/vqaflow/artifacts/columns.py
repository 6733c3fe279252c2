"""Names of columns that several artifacts share, each list in this one place."""

LETTERS = ("a", "b", "c", "d")
QTYPES = ("counting", "color", "ocr", "yesno", "location", "attribute", "general")
LOGITS = [f"logit_{letter}" for letter in LETTERS]
PROBABILITIES = [f"p_{letter}" for letter in LETTERS]

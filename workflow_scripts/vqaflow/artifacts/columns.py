"""Names of columns that several artifacts share, each list in this one place."""

LETTERS = ("a", "b", "c", "d")
QTYPES = ("counting", "color", "ocr", "yesno", "location", "attribute", "general")
LOGITS = [f"logit_{letter}" for letter in LETTERS]
PROBABILITIES = [f"p_{letter}" for letter in LETTERS]
ROW_FIELDS = ["id", "question", *LETTERS, "qtype", "sha256", "width", "height"]  # what a row's scores depend on
TRAINING_FIELDS = [*ROW_FIELDS, "answer"]

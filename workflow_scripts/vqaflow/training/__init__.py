"""One adapter, from rows to the folder that is scored."""

"""Which encoding a text file is in: how files are looked through, and what their bytes may say."""

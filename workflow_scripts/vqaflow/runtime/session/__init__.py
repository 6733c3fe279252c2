"""A run in a session that ends at a known time: stopped before it, kept, and gone on with in the next one."""

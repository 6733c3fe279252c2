"""Self-contained HTML pages of tables and intervals, with one look."""

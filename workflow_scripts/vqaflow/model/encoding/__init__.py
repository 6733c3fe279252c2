"""One row as the model reads it: choice orders, prompt, token ids, positions, patches."""

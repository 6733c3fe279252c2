"""The model card beside each adapter, which says how it was made and how good it is."""

"""Models without a shared prefix here: one pass of the library's forward per choice order."""

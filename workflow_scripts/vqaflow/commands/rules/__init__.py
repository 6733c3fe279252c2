"""Commands that run the stage of a rule by hand, each with the name of its rule."""

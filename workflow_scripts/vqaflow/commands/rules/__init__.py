"""Commands that run the stage of a rule by hand, each named like its rule."""

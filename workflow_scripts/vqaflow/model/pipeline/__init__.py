"""The encoder, features and decoder that a base needs: those that share prefixes, or separate passes."""

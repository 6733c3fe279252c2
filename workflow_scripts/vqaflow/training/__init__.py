"""Trains one adapter and writes its folder."""

"""Experiments on the built-in data: which method learns what, and what it owes to which of its parts."""

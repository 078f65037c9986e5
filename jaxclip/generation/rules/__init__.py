"""Texts by rules, without any language model: for machines without a GPU, and marked as such in every row."""

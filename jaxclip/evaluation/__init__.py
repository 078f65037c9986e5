"""Evaluation: embeddings in, scores out. Pure NumPy; nothing in here runs a model."""

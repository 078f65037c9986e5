"""Procedural scenes: coloured shapes with captions whose truth is known by construction."""

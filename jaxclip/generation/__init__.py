"""Captions to training triplets: paraphrases, negations and absences, written by language models or by rules."""

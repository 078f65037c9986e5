"""Data on its way to the model: records, images to arrays, texts to tokens, batches, the frozen-feature cache."""

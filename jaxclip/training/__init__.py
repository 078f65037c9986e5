"""Training: what is trained, the optimiser, sharding, the step, the loop and its checkpoints."""

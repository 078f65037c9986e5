"""What `jaxclip.plan` is made of: a training step compiled for a machine that one does not have, and what it costs."""

"""Measurements: each module is a command that prints the figures quoted in the README and the model card."""

"""Texts in, answers out: the queue, the batches, and whether answers come. Knows nothing of HTTP."""

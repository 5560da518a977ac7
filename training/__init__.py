"""Turns labelled reviews into a bundle."""

import os

# Threads of libgomp that wait for work spin some milliseconds, on a core that others need: here the two directions of
# the LSTM. Read when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

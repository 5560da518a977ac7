"""Whole files of texts: what reads them, for scoring here and for training."""

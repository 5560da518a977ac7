"""Labelled texts: where they come from, and which of them train, choose and judge."""

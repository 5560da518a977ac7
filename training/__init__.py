"""Turns labelled reviews into a bundle."""

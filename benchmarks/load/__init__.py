"""Servers under measurement, and the loads that are sent to them."""

"""Serves a bundle: text in, a calibrated and explained judgement out."""

import os

# onnxruntime's Linux wheels send telemetry and write a device id unless this stands before their import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"

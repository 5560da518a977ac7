"""What the operator sees: metrics, request log, traces."""

"""The network, in torch."""

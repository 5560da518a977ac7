"""What a network is taught, and by whom."""

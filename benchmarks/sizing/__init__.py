"""How many cores and pods a load needs."""

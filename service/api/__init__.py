"""The routes, one wire a file: what a caller sends becomes texts, and answers become what the caller reads."""

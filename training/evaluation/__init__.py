"""What a bundle is worth, measured through the classifier that serves it."""

"""What a text becomes: tokens, ids, logits, a prediction; plain and synchronous."""

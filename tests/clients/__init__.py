"""Programs that other people's clients are tried with, each in its own environment (`make clients`).

Each is called with the addresses of three services (one that answers, one whose queue is full, one that has lost its
inference) and the model's name. It prints a JSON object of what its client gave for each question, or {"status",
"reason"} of what the client raised.
"""

"""What is true of every request, whatever it asks: connection, id, deadline, body, errors, shutdown."""

"""Exits with code 0 if the service in this container is ready, else 1; imports little, as HEALTHCHECK runs it often."""

import os
import socket
import sys

_TIMEOUT_SECONDS = 2.0


def main() -> bool:
    """Whether one GET of /health/ready is answered 200."""
    try:
        address = ("localhost", int(os.environ.get("OVATION_PORT", "8000")))
        with socket.create_connection(address, _TIMEOUT_SECONDS) as connection:
            connection.sendall(b"GET /health/ready HTTP/1.0\r\n\r\n")
            with connection.makefile("rb") as answer:
                return answer.readline().split()[1:2] == [b"200"]
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if main() else 1)

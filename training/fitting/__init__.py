"""One network trained from where it stands to the end of its plan."""

"""One drill from the command to the page: the steps, the session of a stack under load, and its measuring."""

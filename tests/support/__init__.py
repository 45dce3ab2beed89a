"""Real servers and processes for the tests: nothing here replaces our own code."""

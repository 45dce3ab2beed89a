"""Real servers and processes for the tests: nothing here stands in for our own code."""

"""What type checkers say about a host's code."""

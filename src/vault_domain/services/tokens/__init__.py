"""Use cases about stored tokens and accounts."""

"""The rules: pure functions that decide from the stored state, the time and the policy."""

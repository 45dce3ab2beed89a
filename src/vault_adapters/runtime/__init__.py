"""Runs the work of an open vault: tasks, periodic work, the journal of provider answers and the worker."""

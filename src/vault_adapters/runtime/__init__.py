"""What runs while a vault is open: tasks, periodic work, the journal of provider answers and the worker."""

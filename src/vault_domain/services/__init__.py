"""Use cases. They await ports and nothing else."""

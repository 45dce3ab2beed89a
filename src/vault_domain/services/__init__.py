"""Use cases. They do all I/O through the ports."""

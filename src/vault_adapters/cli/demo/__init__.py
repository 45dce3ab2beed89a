"""The demonstration: every line it prints comes from the library or from the database's file."""

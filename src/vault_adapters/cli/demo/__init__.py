"""The command `demo`. Every value that it prints comes from the library or from the database's file."""

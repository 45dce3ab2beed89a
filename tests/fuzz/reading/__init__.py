"""The targets: each module reads one kind of bytes that others have written."""

"""The targets: each module reads one kind of foreign bytes."""

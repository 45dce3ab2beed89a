"""What a release consists of: the lock of its dependencies, their bill of materials, the contents of the wheel."""

"""The vault for code without an event loop."""

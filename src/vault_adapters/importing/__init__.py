"""Readers of what other systems kept: lines, then rows, then tokens. A bad line is one bad line."""

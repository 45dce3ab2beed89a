"""Reads dumps of other systems in three steps: lines, rows, tokens. A bad row does not affect other rows."""

"""Fuzz targets: readers of bytes from outside, which must refuse bad input quickly and with a known error.

- `python -m tests.fuzz` runs the targets with random inputs for as long as you like.
- `test_fuzz.py` runs them with the corpus and with the same few inputs each time.
"""

"""Fuzz targets: what reads bytes that someone else may have written must refuse them in a known way, and soon.

- `python -m tests.fuzz` runs the targets with random inputs for as long as you like.
- `test_fuzz.py` runs them with the corpus and with the same few inputs each time.
"""

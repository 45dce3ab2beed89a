"""The growth table: what calls cost while the number of stored tokens grows."""

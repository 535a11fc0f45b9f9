"""Bytes to records, one format a file. Each decoder is made by ``(source, options)``."""

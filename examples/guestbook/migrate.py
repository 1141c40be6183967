"""Prepares the store for this version: run once for each release, before its web and worker."""

import book

before = book.prepare()
print(f"layout {before} -> {book.SCHEMA}")

"""Benchmarks of whole commands, side by side with DCMTK and pynetdicom. See README.rst."""

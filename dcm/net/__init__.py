"""DICOM over a network: see `LocalEntity`."""

"""TIFF, read strictly: what cannot be read exactly is refused by name."""

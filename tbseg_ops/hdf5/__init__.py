"""HDF5 files: those of unknown origin, and those that tbseg itself makes."""

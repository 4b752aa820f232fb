"""A run as people look at it: its tiles as data, its voxels as pictures and as an OME-Zarr.

Everything is read out of the run folder as it lies there, while the run goes on: nothing is
written, locked or kept open.
"""

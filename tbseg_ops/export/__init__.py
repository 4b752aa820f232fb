"""What a run gave, as files of other programs: OME-Zarr and TIFF."""

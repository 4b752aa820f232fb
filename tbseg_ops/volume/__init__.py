"""Reading volumes: TIFF slices and files, HDF5 datasets, Zarr and N5; and masks for them."""

from tbseg_ops.volume.opening import open_mask, open_planned, open_source
from tbseg_ops.volume.source import Slices, Source, VolumeInfo

__all__ = ["Slices", "Source", "VolumeInfo", "open_mask", "open_planned", "open_source"]

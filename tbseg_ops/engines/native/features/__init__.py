"""Feature columns of a tile, in bricks of 4 x 4 x 4 voxels."""

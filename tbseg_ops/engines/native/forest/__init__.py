"""Random forests over bricks of 4 x 4 x 4 voxels."""

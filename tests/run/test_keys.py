"""The keys of a small plan, digit by digit: another one would have every run computed again."""

import numpy as np
import pytest

from tbseg_ops.run import Record, RunFolder
from tests.runs import VESSELS, planned, stack

CONTENT, CHUNKS = "c" * 64, "d" * 64
PREDICTED = "eb8ba392ee3340f8c733e24d92d02f96ae18232112a754bdcddf5a1a46d520c0"
PLAIN = {
    "ingest": "da176be30a3c65adad1f6199e6be923e313b8bafd591b2ae19bf377fa74eafa1",
    "split": "303e0e62b58cf4aa7a4450c9eb84e9a61a470c8af05a7bc4638eba033fc9746f",
    "classify": "2e994a1ddf4c37ebb2518df3616dcaa562961962c6afc91f72b5c48062bc6e2a",
    "merge": "db0eae763005e5a271dd074a71e5424b45ede269bc2d42b7be9a6a61a9809675",
    "verify": "98f9af9941dadbf1a46dafac169a7053f4900dee585077ae763b477cb4371207",
}
RICH = {
    "ingest": "3ed29a1ec8d5115d937a6f28021bc56dcaa387a1c9d68d5bb65e7cfe64d6ad49",
    "split": "8fd493dd1875ad9732d55f64045febfd4a0d4ac25a20d0b2e4c9d633e5d48f22",
    "classify": "d8c069cb8b05b2b75d43da55637a24256c4a7362688ecaa101c12679baf47acb",
    "merge": "f39d48a20b651d818c68a649835b990ea1d5c063ae8d90dff94129664e7d27d7",
    "verify": "20d6a434a5a2b220ea5603373c5363651cc62248ba236f3a5bc6ad12a8134240",
}
OTHER = {
    "split": "copy",
    "output": "intensity",
    "probabilities": "all",
    "probability_dtype": "float32",
}


def made_of(folder, tile):
    """A record of its class file, of which only the key is true."""
    piece = folder.classes(tile, CONTENT)
    return Record(
        step="classify",
        name=tile.name,
        key=piece.key,
        file=piece.file,
        size=1,
        sha256=None,
        content=CONTENT,
        chunks=CHUNKS,
        seconds=0,
        host="",
        version="",
    )


@pytest.mark.parametrize(("changes", "keys"), [({}, PLAIN), (OTHER, RICH)], ids=["plain", "rich"])
def test_keys_stay_what_they_are(changes, keys, tmp_path):
    if changes:
        mask = (VESSELS.raw()[..., 0] > 9).astype(np.uint8)
        changes = {**changes, "mask": str(stack(tmp_path / "mask", mask))}
    planned(tmp_path / "run", stack(tmp_path / "slices"), **changes)
    folder = RunFolder(tmp_path / "run")
    # The version of the engine is part of the keys, and rises for reasons of its own.
    old = folder.plan.model_copy(update={"engine_version": "1"})
    folder = folder.under(old, folder.inputs)
    tile = folder.plan.grid[5]
    merged = folder.merged([made_of(folder, tile) for tile in folder.plan.grid])
    pieces = [
        folder.slab(folder.plan.slabs[0]),
        folder.sub_volume(tile),
        folder.classes(tile, CONTENT),
        merged,
        folder.verified(merged),
    ]
    assert {piece.step: piece.key for piece in pieces} == keys
    assert pieces[2].predicted == PREDICTED
    assert [str(piece.path.relative_to(tmp_path / "run")) for piece in pieces] == [
        f"volume/slab_00000.{keys['ingest'][:12]}.h5",
        f"tiles/z001_y000_x001.{keys['split'][:12]}.h5",
        f"classes/z001_y000_x001.{keys['classify'][:12]}.h5",
        "segmentation.h5",
        "segmentation.h5",
    ]

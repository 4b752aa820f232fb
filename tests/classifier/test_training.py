"""What the trees of one stage, or of two, distinguish in the raw values."""

from pathlib import Path

from tbseg_ops.classifier.passport import read_passport
from tbseg_ops.classifier.training import joined

TWO_STAGES = Path(__file__).parents[1] / "reference" / "two-stage" / "classifier.ilp"


def test_ranges_of_two_stages_are_joined():
    assert joined(((1, 5), None, None), ((3, 9), (2, 4), None)) == ((1, 9), (2, 4), None)


def test_raw_values_of_autocontext_are_those_of_both_stages_and_maps_are_none():
    passport = read_passport(TWO_STAGES)
    assert passport.first is not None
    assert len(passport.training.thresholds) == len(passport.first.training.thresholds) == 2
    for own, first in zip(
        passport.training.thresholds, passport.first.training.thresholds, strict=True
    ):
        assert own is not None
        assert first is not None
        assert own[0] <= first[0]
        assert own[1] >= first[1]

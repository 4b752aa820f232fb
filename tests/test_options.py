"""The form's values are hostile: whatever is given is a valid spec or a ConfigError."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbseg_ops.errors import ConfigError, InputError
from tbseg_ops.run import RunSpec

GOOD = {"volume": "/data/slices", "classifier": "/data/c.ilp"}
FIELDS = [name for name in RunSpec.model_fields if name != "schema_version"]


@pytest.mark.parametrize(
    "bad",
    [
        {"volume": "relative"},
        {"volume": "/with\nnewline"},
        {"volume": "/with\0nul"},
        {"volume": "/" + "x" * 5000},
        {"volume": "/data/../etc"},
        {"classifier": ""},
        {"tile": (0, 1, 1)},
        {"tile": (1, 1)},
        {"tile": "64,64,64; rm -rf /"},
        {"engine": "other"},
        {"output": "$(id)"},
        {"probability_dtype": "float64"},
        {"max_batches": 1001},
        {"surprise": 1},
    ],
)
def test_wrong_values_are_named(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        RunSpec.of(**{**GOOD, **bad})


@given(st.sampled_from(FIELDS), st.text() | st.integers() | st.none() | st.lists(st.text()))
def test_any_value_in_any_field_is_accepted_or_refused_by_name(field, value):
    spec, refusal = None, ""
    try:
        spec = RunSpec.of(**{**GOOD, field: value})
    except ConfigError as error:
        refusal = str(error)
    if spec is None:
        assert field in refusal
    else:
        assert RunSpec.model_validate_json(spec.to_bytes()) == spec


def test_unknown_classes_are_refused_with_those_there_are():
    spec = RunSpec.of(**GOOD, probabilities=("cell", "vesel"))
    with pytest.raises(InputError, match="vesel") as caught:
        spec.wanted_probabilities(("cell", "vessel"))
    assert "'vessel'" in str(caught.value)


@pytest.mark.parametrize(
    "bad",
    [
        {"axes": "zz"},
        {"axes": "zyq"},
        {"axes": "zx"},
        {"channel": -1},
        {"time": -1},
        {"scale": -1},
        {"order": "up"},
        {"channels_from": ("relative",)},
        {"channels_from": ("/data/../x",)},
    ],
)
def test_a_selection_that_no_volume_has_is_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        RunSpec.of(**{**GOOD, **bad})


def test_paths_of_a_selection_are_placed():
    spec = RunSpec.of(**GOOD, channels_from=("/a/x", "/a/y"))
    assert spec.placed(lambda path: "/b" + path).channels_from == ("/b/a/x", "/b/a/y")

"""The form's values are hostile: whatever is given is a valid spec or a ConfigError."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbseg_ops.errors import ConfigError, InputError
from tbseg_ops.run import RunSpec
from tbseg_ops.run.spec import check_roots

GOOD = {"volume": "/data/slices", "classifier": "/data/c.ilp"}
FIELDS = [name for name in RunSpec.model_fields if name != "schema_version"]


@pytest.mark.parametrize(
    "bad",
    [
        {"volume": "relative"},
        {"volume": "/with\nnewline"},
        {"volume": "/with\0nul"},
        {"volume": "/" + "x" * 5000},
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


def test_paths_stay_inside_the_allowed_roots(tmp_path, monkeypatch):
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "way_out").symlink_to("/etc")
    monkeypatch.setenv("TBSEG_ROOTS", str(allowed))
    check_roots(str(allowed / "slices"), f"{allowed}/v.h5:/data")
    for path in ("/etc/passwd", f"{allowed}/../x", f"{allowed}/way_out/passwd", "/etc/v.h5:/data"):
        with pytest.raises(ConfigError, match="outside"):
            check_roots(path)
    monkeypatch.delenv("TBSEG_ROOTS")
    check_roots("/etc/passwd")

"""The form of the DAG is made from the options' own words."""

import pytest

from tbseg_ops.options import RunSpec, Target
from tests.test_fields import Wider

pytestmark = pytest.mark.filterwarnings("ignore")  # of Airflow's own imports


def test_a_further_option_is_a_further_field():
    from tbseg_airflow.form import params

    fields = params(Wider, Target, first="dataset", examples={}, more={})
    assert fields["smoothing"].value == "off"
    assert fields["smoothing"].schema == {
        "type": "string",
        "enum": ["off", "on"],
        "title": "Smoothing",
        "description_md": "Whether classes are smoothed. It takes time.",
        "section": "Output: what the result holds",
        "values_display": {"off": "off: as they are", "on": "on: rounded"},
    }


def test_an_error_names_the_field_of_the_form():
    from tbseg_airflow.form import by_title

    text = "  VOLUME: not absolute\n  --probability-dtype: wrong\n  mend: --max-batches, INPUT"
    assert by_title(text, RunSpec, Target) == (
        "  Volume (VOLUME): not absolute\n"
        "  Type of the probability maps (--probability-dtype): wrong\n"
        "  mend: --max-batches, INPUT"
    )

"""Settings of the whole test suite."""

from hypothesis import settings

# Two shared cores: a deadline would measure the neighbours.
settings.register_profile("tbseg", deadline=None, max_examples=60)
settings.load_profile("tbseg")

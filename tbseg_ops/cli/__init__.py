"""The command ``tbseg``: one file per command, each a thin skin over a step."""

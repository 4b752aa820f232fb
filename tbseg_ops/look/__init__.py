"""Before a run: a volume and a classifier looked at, and the classes of a box of it computed.

Nothing is written but in temporary folders, and no file of a stranger is opened by who serves the
page: that is done by a process within bounds. See docs/preview.md.
"""

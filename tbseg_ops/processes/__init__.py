"""Processes: a team that shares work, programs that are not ours, and who is who."""

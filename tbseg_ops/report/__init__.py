"""The report and the RO-Crate of a run."""

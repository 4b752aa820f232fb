"""Where a command runs: on this machine, on hosts by SSH, in pods."""

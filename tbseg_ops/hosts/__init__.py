"""Jobs of this host that outlive the connection by which they were started.

An *agent* speaks for the host over one SSH channel and keeps nothing in memory; a *keeper* runs one
command to its end and writes down how it ended; the *store* is the folder in which both meet.
"""

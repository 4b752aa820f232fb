"""The backend for hosts that are reached by SSH. See docs/ssh.md.

settings.py     which hosts, and how each is reached: an Airflow Variable and Connections
link.py         one connection to the agent of one host, for all jobs there
assignments.py  which host has a job, written down in the run folder
trigger.py      what waits for a job, in the triggerer
backend.py      what a task does: defer to the trigger, and report in the end
"""

"""The Airflow side of tbseg: operators that run its command line. See docs/airflow.md.

Import from the modules: this file stays empty, so that a DAG loads only what it uses.
"""

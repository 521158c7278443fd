"""Orchestration and the command line: thin over ``pipeline`` and ``labeling``."""

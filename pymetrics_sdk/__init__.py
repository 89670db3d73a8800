"""Instrument batch jobs and push their metrics on exit, however the process ends."""

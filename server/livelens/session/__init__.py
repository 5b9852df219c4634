"""Runs and viewers, Sans-I/O: message in, messages out and jobs for the model thread; time is passed in."""

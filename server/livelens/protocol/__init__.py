"""Bytes to typed messages and back; imports nothing else of livelens."""

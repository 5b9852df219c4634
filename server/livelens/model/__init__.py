"""The network being watched: engines, capture, interventions, and where models come from."""

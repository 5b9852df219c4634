"""Pure functions on weights and captured activations: lenses, direct contributions, norms."""

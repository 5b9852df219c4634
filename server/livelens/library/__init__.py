"""livelens as a library: `livelens.view(model)`, for notebooks and scripts."""

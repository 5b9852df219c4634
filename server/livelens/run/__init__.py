"""One generation: the state machine of a run, its sampler, its history, and the one model thread."""

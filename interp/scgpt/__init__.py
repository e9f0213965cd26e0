"""The model under study: configuration, checkpoints, tokens, the hooked model and its pretraining."""

"""From named heads to a compact algorithm: operators, adaptor, readouts, folding and the runner."""

"""Run folders: atomic files, hashes, seeds, progress, resumable steps, artifacts that load by name."""

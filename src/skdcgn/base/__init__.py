"""The ground: configurations, presets, files, seeds, errors, progress and named weights. It imports no other folder."""

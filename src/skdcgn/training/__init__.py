"""Training: one loop for every method, its run folder, several processes, and the losses."""

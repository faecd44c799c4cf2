"""The one training loop, its run folder, several processes, and every loss."""

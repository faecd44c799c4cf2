"""Results of runs and studies as typed records, statistics over seeds, and expected accuracies."""

"""Whole experiments: the runs, the studies, and the stages that they share."""

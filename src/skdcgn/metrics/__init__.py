"""Statistics: pure functions from tensors to numbers. No CGN, no network."""

"""Teachers: black boxes that answer ``query(mechanism, noise, labels)``."""

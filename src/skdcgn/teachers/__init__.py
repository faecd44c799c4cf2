"""Teachers: black boxes that answer ``query(mechanism, noise, labels)``, how they are loaded and taught."""

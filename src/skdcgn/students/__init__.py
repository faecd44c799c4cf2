"""Students: tiny conditional generators, and the discriminator they are trained against."""

"""Students: tiny conditional generators, their discriminator, and the distillation that trains them."""

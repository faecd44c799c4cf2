"""Students: tiny conditional generators, the discriminator beside them, and the distillation that trains them."""

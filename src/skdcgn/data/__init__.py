"""Data: glyphs, appearances, textures, photographs, and counterfactuals to train on."""

"""The tests mirror src/pkdn_lightning."""

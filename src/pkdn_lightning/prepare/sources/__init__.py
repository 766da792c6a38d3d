"""Where faces come from: one small file per kind of source, each yielding `pipeline.Face`s."""

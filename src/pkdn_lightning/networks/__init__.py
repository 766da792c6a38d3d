"""Networks: one file per method, built from shared blocks; `contract` is what the rest relies on."""

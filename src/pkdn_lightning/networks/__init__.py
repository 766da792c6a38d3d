"""Networks: one file per method, built from shared blocks; `output` is the contract between them and the rest."""

"""Happens once, before training: a publisher's faces become a store."""

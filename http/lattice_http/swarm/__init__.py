"""Swarms over HTTP: several models, one answer."""

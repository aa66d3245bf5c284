"""Measurements that a person can make of an installation: ``zc bench``."""

"""Predictions as files for people: pictures and result documents."""

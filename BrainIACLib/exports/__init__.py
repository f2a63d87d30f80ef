"""Installed models in the forms in which they travel: a folder or zip of this project, and a MONAI bundle."""

"""Nets only, tensor shapes in comments: the residual encoders and the heads."""

"""Installed models: folders with a contract and safetensors weights, checked by their sha256 before use."""

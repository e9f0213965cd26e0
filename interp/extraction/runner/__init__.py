"""The single-file runner that is copied into every exported algorithm; it imports NumPy and safetensors only."""

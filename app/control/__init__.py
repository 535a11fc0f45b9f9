"""The control plane: what a person may ask of the service."""

"""What the pipeline says, written down: log lines now, metrics and traces later."""

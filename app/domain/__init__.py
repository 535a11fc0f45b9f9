"""What things are and every rule about them. No await, no clock, no I/O."""

"""What a host needs to run a network on hardware: files, drivers in C and Python, transports."""

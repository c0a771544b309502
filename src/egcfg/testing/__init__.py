"""What plugin authors test with: a scripted backend, and a naive decoder to compare with."""

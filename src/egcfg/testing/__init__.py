"""What plugin authors test with: conformance suites and a scripted backend."""

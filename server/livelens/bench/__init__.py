"""The numbers livelens promises, measured with their peers in one run: `livelens bench`."""

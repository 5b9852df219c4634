"""`python -m livelens`."""

from livelens.cli import main

if __name__ == "__main__":
    main()

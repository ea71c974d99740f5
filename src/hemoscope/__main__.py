"""Lets `python -m hemoscope` do what `hemoscope` does."""

from hemoscope.cli import main

if __name__ == "__main__":
    main()

"""`python -m matchloss`."""

from matchloss.cli import main

if __name__ == "__main__":  # spawned processes import this file again
    main()

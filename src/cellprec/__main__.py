"""``python -m cellprec``: the command line where the script is not on the path (cluster jobs)."""

from cellprec.cli import main

if __name__ == "__main__":
    main()

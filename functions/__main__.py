"""`python -m functions TARGET` runs one function; TARGET is a module (`notify.post`) or a path to a .py file."""

import sys

from functions.runtime import main

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m functions MODULE_OR_FILE   (for example: python -m functions notify.post)")
    sys.path.insert(0, "")
    main(sys.argv[1])

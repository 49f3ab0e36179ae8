"""``python -m alertstream`` is ``alertstream``."""

from alertstream.cli import main

if __name__ == "__main__":
    main()

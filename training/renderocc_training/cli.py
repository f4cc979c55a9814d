"""``renderocc-train``: another name of ``renderocc``."""

from renderocc_ros.cli import app, main

__all__ = ["app", "main"]

if __name__ == "__main__":
    main()

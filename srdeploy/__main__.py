"""Run as ``python -m srdeploy``."""

from srdeploy.cli.main import main

main()

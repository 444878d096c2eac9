"""``python -m daytwo`` is the ``daytwo`` command."""

from daytwo.command_line import main

main()

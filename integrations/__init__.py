"""Adapters to other libraries, one file each. Import them as ``daytwo.integrations``."""

if __name__ != "daytwo.integrations":
    raise ImportError(
        f"The folder integrations/ is the package daytwo.integrations, but was imported as {__name__!r}: "
        "write 'import daytwo.integrations'. A second copy of its classes would equal none of the first."
    )

"""Courses and teachers: what a lifetime goes through, and who decides. Import them as ``daytwo.curricula``."""

if __name__ != "daytwo.curricula":
    raise ImportError(
        f"The folder curricula/ is the package daytwo.curricula, but was imported as {__name__!r}: "
        "write 'import daytwo.curricula'. A second copy of its classes would equal none of the first."
    )

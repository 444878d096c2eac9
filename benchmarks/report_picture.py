"""Write docs/report.png: `python benchmarks/report_picture.py report.html` (what `daytwo benchmark quick` left).

It needs Chromium and chromedriver, as the tests of the report do.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 1180, 1560


def main(arguments: list[str]) -> int:
    """Open the page, scroll to the results, and keep what a reader sees."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    sys.path.insert(0, str(ROOT))
    from tests.evaluation import browser

    driver = browser.start(WIDTH, HEIGHT)
    try:
        driver.get(Path(arguments[0]).resolve().as_uri())
        driver.save_screenshot(str(ROOT / "docs" / "report.png"))
    finally:
        driver.quit()
    print("Wrote docs/report.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

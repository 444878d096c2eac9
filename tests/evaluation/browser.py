"""A real headless browser for the tests of the report: Chromium or Chrome with its driver, found on this machine."""

import shutil

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The browser asks nobody for anything: the page is a file.
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
)


def find() -> tuple[str, str] | None:
    """The paths of a browser and its driver, or None where one of them is missing."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


def start(width=1280, height=1000):
    """A Selenium driver that keeps what the page logs and what it asks for.

    Raises:
        RuntimeError: there is no browser, or no driver.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    found = find()
    if found is None:
        raise RuntimeError("Needs Chromium and chromedriver (Debian and Ubuntu: apt install chromium chromium-driver).")
    options = webdriver.ChromeOptions()
    options.binary_location, driver = found
    for argument in (*ARGUMENTS, f"--window-size={width},{height}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))

"""Draws the pictures of the dashboard in docs anew: `python -m tests.adapters.web.pictures`."""

from pathlib import Path
from urllib.parse import urlencode

from tests.adapters.web import sample
from tests.adapters.web.running import running_dashboard
from tests.support.chromium import start_chromium

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "dashboard"
ACCOUNT = {"tenant": sample.TENANTS[1], "provider": "google", "identifier": "owner1@example.com"}
PICTURES = {
    "overview-wide-light": ("/", 1280, "light"),
    "overview-wide-dark": ("/", 1280, "dark"),
    "accounts-wide-dark": ("/accounts", 1280, "dark"),
    "account-narrow-light": (f"/account?{urlencode(ACCOUNT)}", 400, "light"),
    "overview-narrow-dark": ("/", 400, "dark"),
}


def main() -> None:
    """Write each picture."""
    FOLDER.mkdir(exist_ok=True)
    with running_dashboard(actions=True) as base, start_chromium() as chromium:
        for name, (path, width, scheme) in PICTURES.items():
            size = {"width": width, "height": 800}
            page = chromium.new_page(viewport=size, color_scheme=scheme)
            page.goto(base + path)
            page.screenshot(path=FOLDER / f"{name}.png")


if __name__ == "__main__":
    main()

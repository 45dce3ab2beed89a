"""The pages in a real Chromium: axe finds no problem, requests stay at the origin, the keyboard reaches everything."""

from urllib.parse import urlencode

import pytest
from tests.adapters.web import sample
from tests.adapters.web.running import running_dashboard
from tests.support.chromium import find_axe, start_chromium

pytestmark = pytest.mark.browser

REFUSED = {"tenant": sample.TENANTS[1], "provider": "quickbooks", "identifier": "team-1"}
LONGEST = {"tenant": "t" * 255, "provider": "p" * 64, "identifier": "i" * 255}
PAGES = [
    "/",
    "/accounts",
    "/accounts?tenant=hostile",
    f"/accounts?tenant={'t' * 255}",
    f"/account?{urlencode(REFUSED)}",
    f"/account?{urlencode(LONGEST)}",
    "/expiring?within=30d",
    f"/audit?tenant={'t' * 255}",
    "/audit?tenant=hostile",
    "/keys",
    "/account",
    *[f"/ask/{action}?{urlencode(REFUSED)}" for action in ("revive",)],
]


CUT = """() => {
    const end = element => element.getBoundingClientRect().right
    const main = document.querySelector("main")
    const edge = end(main) - parseFloat(getComputedStyle(main).paddingRight)
    return [...document.querySelectorAll("main *")].filter(element => end(element) > edge + 1)
        .filter(element => !element.closest("thead, .aside, svg")).map(element => element.outerHTML.slice(0, 200))
}"""


@pytest.fixture(scope="module")
def chromium():
    with start_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def base(chromium):
    with running_dashboard(longest=True, actions=True, actor=lambda request: "ops@example.com") as address:
        yield address


def opened(chromium, base, width=1600, scheme="light", **options):
    """A page of a new browser profile, with its requests and its error messages."""
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    page = context.new_page()
    page.asked, page.complaints = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("dialog", lambda dialog: page.complaints.append("dialog"))
    return page


def expected(path):
    return 400 if path == "/account" else 200


@pytest.mark.parametrize(("width", "scheme"), [(1600, "light"), (400, "dark")])
def test_axe_finds_nothing_and_nothing_leaves_the_origin(chromium, base, width, scheme, tmp_path_factory):
    axe = find_axe(tmp_path_factory.mktemp("axe"))
    page = opened(chromium, base, width, scheme)
    for path in PAGES:
        assert page.goto(base + path).status == expected(path)
        # Lines break at the same places in both colour schemes, so one scheme is tried at all widths.
        for other in [360, 820, 821, 1101, 1280, 1441, width] if scheme == "light" else [width]:
            page.set_viewport_size({"width": other, "height": 900})
            assert page.evaluate(CUT) == [], f"{path} is cut at {other}"
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        faults = {fault["id"]: [node["html"] for node in fault["nodes"]] for fault in found["violations"]}
        assert faults == {}, path
    assert {url for url in page.asked if not url.startswith(base)} == set()
    assert [text for text in page.complaints if "400" not in text] == []


def test_a_phone_gets_a_list_of_events_that_ends(chromium, base):
    """At 390 pixels an event takes several lines: the latest 200 events were 38,000 pixels high."""
    page = opened(chromium, base, 390)
    page.goto(base + "/audit")
    assert page.evaluate("[document.documentElement.scrollWidth, document.querySelectorAll('tbody tr').length]") == [
        390,
        50,
    ]
    assert page.evaluate("document.documentElement.scrollHeight") < 13_000
    page.get_by_role("link", name="Show more").click()
    assert page.locator("tbody tr").count() == 200
    assert page.get_by_role("link", name="Show more").count() == 0


def test_everything_works_without_scripts_by_keyboard_alone(chromium, base):
    page = opened(chromium, base, java_script_enabled=False)
    page.goto(base + "/")
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to content"
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")
    page.goto(base + "/accounts")
    page.locator("#f-tenant").focus()
    page.keyboard.type("hostile")
    page.keyboard.press("Enter")
    page.wait_for_url("**/accounts?tenant=hostile**")
    tab_to(page, "google · ../../etc/passwd")
    page.keyboard.press("Enter")
    page.wait_for_url("**/account?**")
    tab_to(page, "Refresh now")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ask/refresh?**")
    tab_to(page, "Refresh now")
    page.keyboard.press("Enter")
    page.wait_for_url("**done=refreshed**")
    assert "The account was refreshed." in page.locator("[role=status]").inner_text()
    tab_to(page, "Delete")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ask/delete?**")
    tab_to(page, "Delete")
    page.keyboard.press("Enter")
    page.wait_for_url("**/act/delete")
    assert "2 tokens of google" in page.locator("[role=status]").inner_text()
    assert page.complaints == []


def tab_to(page, text):
    """Press Tab until an element whose text begins with this text has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if focused.count() and focused.inner_text().startswith(text):
            return
    raise AssertionError(f"Tab does not reach {text}")


def test_a_stranger_can_neither_frame_the_page_nor_send_its_forms(chromium, base):
    page = opened(chromium, base)
    page.goto(f"{base}/ask/delete?{urlencode(REFUSED)}")
    form = page.eval_on_selector("form[method=post]", "form => Object.fromEntries(new FormData(form))")
    fields = "".join(f"<input name={name} value='{value}'>" for name, value in form.items())
    frame, target = f"<iframe src='{base}/'></iframe>", f"{base}/act/delete"
    body = f"{frame}<form method=post action='{target}'>{fields}<button>go</button></form>"
    evil = f"http://localhost:{base.split(':')[2].split('/')[0]}/evil"
    page.route(evil, lambda route: route.fulfill(content_type="text/html", body=body))
    page.goto(evil)
    assert page.frames[1].url.startswith("chrome-error:")
    page.click("button")
    page.wait_for_url("**/act/delete")
    assert "This form is not from a page that the dashboard made for you" in page.inner_text("main")


def test_a_continued_connection_leads_to_the_provider(chromium, base):
    page = opened(chromium, base)
    page.goto(f"{base}/ask/reconnect?{urlencode(REFUSED)}")
    page.click("button.primary")
    link = page.locator("a.primary")
    assert link.get_attribute("href") == "https://accounts.example/authorize?state=s"
    assert page.complaints == []

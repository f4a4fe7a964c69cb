"""The registry's pages: a form that names what is wrong, lists with filters, a change by two at once, and keys."""
from playwright.sync_api import expect


def walk_registry(mine):
    mine.sign_in()
    add_by_form(mine)
    mine.register_site()
    filter_lists(mine)
    change_at_once(mine)
    use_keys(mine)


def add_by_form(mine):
    """The form names what is missing and what is wrong."""
    page = mine.page
    mine.watch.allow(400, 400)
    page.goto(f"{mine.base}/registry/operators?new")
    page.fill("#f-id", "fjord")
    page.click("#form button[type=submit]")
    expect(page.locator("#e-name")).to_be_visible()
    expect(page.locator("#e-name")).to_have_text("This is needed.")
    assert page.evaluate("document.activeElement.id") == "f-name"
    expect(page.locator("#e-country")).to_be_hidden()
    page.fill("#f-name", "Fjord Mining")
    page.fill("#f-country", "Norway")
    page.click("#form button[type=submit]")
    expect(page.locator("#e-country")).to_be_visible()
    expect(page.locator("#e-country")).to_contain_text("two capital letters")
    expect(page.locator("#e-name")).to_be_hidden()
    page.fill("#f-country", "NO")
    page.select_option("#f-status", "active")
    page.click("#form button[type=submit]")
    page.wait_for_url(f"{mine.base}/registry/operators/fjord")
    expect(page.locator("#facts")).to_contain_text("Fjord Mining")
    expect(page.locator("#history li").first).to_contain_text("created")
    expect(page.locator("#history li").first).to_contain_text("ann")


def filter_lists(mine):
    """A link holds the filter, and pages follow each other."""
    page = mine.page
    page.goto(f"{mine.base}/registry/machines?status=active")
    expect(page.locator("#w-status")).to_have_value("active")
    expect(page.locator("#list tbody tr")).to_have_count(45)
    page.select_option("#w-status", "")
    expect(page.locator("#list tbody tr")).to_have_count(50)
    assert "status" not in page.url, page.url
    page.click("#list-more")
    expect(page.locator("#list tbody tr")).to_have_count(10)
    expect(page.locator("#list tbody tr").first).to_contain_text("rig-50")
    page.fill("#w-id", "rig-07")
    expect(page.locator("#list tbody tr")).to_have_count(1)
    assert "id=rig-07" in page.url, page.url
    with page.expect_download() as download:
        page.locator("#list-note a", has_text="CSV").click()
    text = open(download.value.path(), encoding="utf-8").read().splitlines()
    assert len(text) == 2 and "rig-07" in text[1], text


def change_at_once(mine):
    """Two change a site at once: both values are shown, and nothing is lost."""
    page = mine.page
    mine.watch.allow(412)
    site = "/api/v1/sites/north"
    page.goto(f"{mine.base}/registry/sites/north?edit")
    expect(page.locator("#f-name")).to_have_value("North")
    mine.change_as(site, {"connection_kw": 2000, "supplier": "Statkraft"})
    page.fill("#f-connection_kw", "1900")
    page.fill("#f-name", "North mine")
    page.click("#form button[type=submit]")
    row = page.locator("#conflict tbody tr", has_text="Connection")
    for value in ("1,800", "2,000", "1,900"):
        expect(row).to_contain_text(value)
    expect(page.locator("#conflict tbody tr", has_text="Supplier")).to_contain_text("taken over")
    expect(page.locator("#f-supplier")).to_have_value("Statkraft")
    row.get_by_role("button", name="Take theirs").click()
    expect(page.locator("#f-connection_kw")).to_have_value("2000")
    page.click("#form button[type=submit]")
    page.wait_for_url(f"{mine.base}/registry/sites/north")
    now = mine.read_as(site)
    assert (now["name"], now["connection_kw"], now["supplier"], now["version"]) == ("North mine", 2000, "Statkraft", 3), now
    newest = page.locator("#history li").first
    expect(newest).to_contain_text("version 3")
    expect(newest.locator("del")).to_have_text("North")
    expect(newest.locator("ins")).to_have_text("North mine")


def use_keys(mine):
    """Everything without a pointer; and single letters can be switched off."""
    page = mine.page
    # A filter by an id that nothing has is answered with 404.
    mine.watch.usual = {404}
    page.goto(f"{mine.base}/registry/meters")
    expect(page.locator("#list tbody a").first).to_be_visible()
    for key, reached in (("j", "main"), ("j", "pool-meter"), ("k", "main")):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.textContent") == reached, key
    # A row that comes, or changes, takes the focus from nobody.
    mine.change_as("/api/v1/meters/main", {"accuracy_class": "0.5S"})
    page.evaluate("dispatchEvent(new PopStateEvent('popstate'))")
    expect(page.locator("#list tbody tr").first).to_contain_text("0.5S")
    assert page.evaluate("document.activeElement.textContent") == "main"
    page.keyboard.press("?")
    expect(page.locator("#keys-help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys-help")).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url(f"{mine.base}/registry")
    expect(page.locator("#list tbody a").first).to_be_visible()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "w-id"
    page.keyboard.type("gem")
    expect(page.locator("#w-id")).to_have_value("gem")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.uncheck("#keys-on")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keys-help")).to_be_hidden()
    page.click("#keys")
    page.check("#keys-on")
    page.get_by_role("button", name="Close").click()
    page.goto("about:blank")
    mine.watch.usual = set()

"""The page that runs SQL: its editor, its files, its chart, what it ends, and what it keeps up."""
import csv, re, urllib.parse

import pyarrow.ipc, pyarrow.parquet
from playwright.sync_api import expect

from browser import until
from pool_server import sign_in

# A statement that nobody waits for.
ENDLESS = "SELECT count(*) AS n FROM generate_series(1, 1000000000000) AS a WHERE a.value % 7 = 3"
STATEMENT = "SELECT height, status FROM blocks ORDER BY seq LIMIT 3"


def open_explore(page, base, statement):
    """The page with a statement in its editor. Its script is there when the tables are."""
    page.goto(base + "/explore")
    expect(page.locator("#tables details").first).to_be_attached()
    page.fill("#sql", statement)


def run_until(page, run, has_come):
    """Runs what is in the editor until the server has done so: one that has too much to do sends a statement away."""
    def ends():
        run()
        expect(page.locator("#told")).to_have_text(re.compile(r"\d rows?|It did not run|Cancelled"))
        return has_come()

    until(ends, lambda: f"{page.locator('#told').inner_text()} {page.locator('#failure').inner_text()}")


def walk_explore(tab):
    sign_in(tab)
    page, base = tab.page, tab.pool.base
    open_explore(page, base, "")
    page.locator("#sql").press_sequentially("SELECT height, status FROM blo")
    expect(page.locator("#complete li[aria-selected=true]")).to_contain_text("blocks")
    page.keyboard.press("Enter")
    page.locator("#sql").press_sequentially(" ORDER BY seq LIMIT 3")
    run_until(page, lambda: page.keyboard.press("Control+Enter"), lambda: "3 rows" in page.locator("#told").inner_text())
    shown = [[cell.inner_text() for cell in row.locator("td").all()] for row in page.locator("#rows tbody tr").all()]
    assert len(shown) == 3, shown
    for kind, read_file in (("parquet", read_parquet), ("csv", read_csv), ("arrow", read_arrow)):
        until(lambda: save(page, kind, read_file) == shown, f"the {kind} does not hold what is shown")
    # The link holds the statement.
    assert urllib.parse.parse_qs(urllib.parse.urlsplit(page.url).query)["q"] == [STATEMENT]
    draw_chart(page)
    page.click("#as-table")
    # What cannot run says why, in the server's words.
    tab.watch.allow(400)
    page.fill("#sql", "SELECT nothing FROM blocks")
    run_until(page, lambda: page.click("#run"), lambda: "nothing" in page.locator("#failure").inner_text())
    # What ran before is there after the page is loaded again.
    open_explore(page, base, "")
    page.select_option("#history", STATEMENT)
    expect(page.locator("#sql")).to_have_value(STATEMENT)


def save(page, kind, read_file):
    """The rows of a file; nothing when the server had too much to do for it."""
    with page.expect_download() as download:
        page.click(f"[data-format={kind}]")
    return None if download.value.failure() else read_file(download.value.path())


def draw_chart(page):
    """A bar for each block."""
    def is_drawn():
        page.click("#as-table")
        page.click("#as-chart")
        expect(page.locator("#drawing svg, #drawing .empty").first).to_be_visible()
        return page.locator("#drawing svg").count()

    until(is_drawn, lambda: page.locator("#drawing").inner_text())
    bars = page.locator("#drawing svg").inner_html().lower().count("#c25a12")
    assert bars == 3, bars


def read_parquet(path):
    return [[str(row["height"]), row["status"]] for row in pyarrow.parquet.read_table(path).to_pylist()]


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def read_arrow(path):
    with pyarrow.ipc.open_stream(path) as rows:
        return [[str(row["height"]), row["status"]] for row in rows.read_all().to_pylist()]


def start_endless(page, rows):
    """Runs the statement until another page lists it as running; a server that has too much to do sends it away."""
    def is_listed():
        if page.locator("#run").is_enabled():
            page.click("#run")
        page.wait_for_timeout(100)
        return rows.count() == 1

    until(is_listed, lambda: f"the statement does not run: {page.locator('#failure').inner_text()}")


def walk_cancel(tab):
    """A statement is ended by who sent it, and by an operator."""
    sign_in(tab)
    page = tab.page
    operator = page.context.new_page()
    operator.goto(tab.pool.base + "/operate")
    rows = operator.locator("#queries tbody tr", has_text="generate_series")
    open_explore(page, tab.pool.base, ENDLESS)
    start_endless(page, rows)
    page.click("#cancel")
    expect(page.locator("#told")).to_have_text("Cancelled.")
    # Nobody waits for it, so that it does not go on.
    expect(rows).to_have_count(0)
    tab.watch.allow(499)
    start_endless(page, rows)
    rows.get_by_role("button").click()
    expect(operator.locator("#queries-area .order")).to_contain_text("was ended")
    expect(page.locator("#failure")).to_contain_text("cancel")
    expect(rows).to_have_count(0)


def walk_live(tab):
    sign_in(tab)
    page = tab.page
    open_explore(page, tab.pool.base, "SELECT count(*) AS shares FROM shares")
    # A proxy before a server that starts answers in its place; then the subscription ends with a gap; then all is well.
    answers = {"status": 503, "asked": 0}

    def stand_in(route):
        answers["asked"] += 1
        if answers["status"] == 200:
            route.continue_()
        elif answers["status"] == 503:
            route.fulfill(status=503, body="the server starts")
        else:
            answers["status"] = 200
            route.fulfill(status=200, content_type="text/event-stream", body='event: gap\ndata: {"reason":"slow"}\n\n')

    page.route("**/api/v1/sql/live?*", stand_in)
    page.click("#live")
    expect(page.locator("#told")).to_contain_text("taken up again by itself")
    expect(page.locator("#result-area")).to_have_attribute("data-stale", "")
    until(lambda: page.wait_for_timeout(10) or answers["asked"] > 2, "it is not asked again")
    answers["status"] = "gap"
    expect(page.locator("#rows tbody td")).to_have_text(re.compile(r"^\d+$"))
    expect(page.locator("#told")).to_contain_text("missed")
    expect(page.locator("#result-area")).not_to_have_attribute("data-stale", "")
    expect(page.locator("#live")).to_have_attribute("aria-pressed", "true")
    tab.wait_for_change("#rows tbody td")
    page.click("#live")
    page.unroute("**/api/v1/sql/live?*")

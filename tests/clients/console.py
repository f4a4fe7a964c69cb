"""Walks the pages of the pool in a browser, on a demo; its arguments are those of demo.py."""
import csv, json, re, socket, urllib.parse, urllib.request

import pyarrow.ipc, pyarrow.parquet
from playwright.sync_api import expect, sync_playwright

import browser as walks
import miner_page
from browser import PATIENCE_S, Watch, known, note, press_to, until
from demo import BASE, PASSWORD, ask, axe, become_admin, came, open_explore, shots, started, stratum, stream_cells

# A statement that nobody waits for.
ENDLESS = "SELECT count(*) AS n FROM generate_series(1, 1000000000000) AS a WHERE a.value % 7 = 3"


def walk_pool(page):
    page.goto(BASE + "/")
    assert page.url == BASE + "/pool", page.url
    # With a keyboard the first stop leads past the menu.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for name in ("f-hashrate", "f-miners", "f-effort", "f-last", "f-network", "f-found"):
        known(page, name)
    expect(page.locator("#chart-area svg polyline").first).to_be_attached()
    expect(page.locator("#blocks tbody tr").first).to_contain_text("ago")
    # A number changes while the page is looked at.
    before = page.locator("#f-found").inner_text()
    page.wait_for_function("before => document.querySelector('#f-found').innerText !== before", arg=before, timeout=PATIENCE_S * 1000)
    page.fill("#own-address", "4Visitor")
    expect(page.locator("#lines code").first).to_contain_text(f"-o 127.0.0.1:{stratum} -u 4Visitor.rig-1")
    expect(page.locator("#lines code").first).to_contain_text("--tls-fingerprint=")
    page.check("#own-solo")
    expect(page.locator("#lines code").first).to_contain_text("-u solo:4Visitor.rig-1")
    expect(page.locator("#lines")).to_contain_text("You mine solo")
    page.uncheck("#own-solo")
    expect(page.locator("#lines code").first).to_contain_text("-u 4Visitor.rig-1")


def walk_explore(page, watch):
    open_explore(page, "")
    page.locator("#sql").press_sequentially("SELECT height, status FROM blo")
    expect(page.locator("#complete li[aria-selected=true]")).to_contain_text("blocks")
    page.keyboard.press("Enter")
    page.locator("#sql").press_sequentially(" ORDER BY seq LIMIT 3")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#told")).to_contain_text("3 rows")
    shown = [[cell.inner_text() for cell in row.locator("td").all()] for row in page.locator("#rows tbody tr").all()]
    with page.expect_download() as download:
        page.click("[data-format=parquet]")
    table = pyarrow.parquet.read_table(download.value.path())
    read = [[str(row["height"]), row["status"]] for row in table.to_pylist()]
    assert read == shown and len(read) == 3, (read, shown)
    for kind, read_file in (("csv", read_csv), ("arrow", read_arrow)):
        with page.expect_download() as download:
            page.click(f"[data-format={kind}]")
        assert read_file(download.value.path()) == shown, kind
    # The link holds the statement.
    assert urllib.parse.parse_qs(urllib.parse.urlsplit(page.url).query)["q"] == ["SELECT height, status FROM blocks ORDER BY seq LIMIT 3"]
    page.click("#as-chart")
    expect(page.locator("#drawing svg")).to_be_visible()
    assert page.locator("#drawing svg").inner_html().count("#C25A12") + page.locator("#drawing svg").inner_html().count("#c25a12") == 3, "a bar for each block"
    page.click("#as-table")
    # What cannot run says why, in the server's words.
    watch.allow(400)
    page.fill("#sql", "SELECT nothing FROM blocks")
    page.click("#run")
    expect(page.locator("#failure")).to_contain_text("nothing")
    # What ran before is there after the page is loaded again.
    open_explore(page, "")
    page.select_option("#history", "SELECT height, status FROM blocks ORDER BY seq LIMIT 3")
    expect(page.locator("#sql")).to_have_value("SELECT height, status FROM blocks ORDER BY seq LIMIT 3")


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


def read_arrow(path):
    with pyarrow.ipc.open_stream(path) as rows:
        return [[str(row["height"]), row["status"]] for row in rows.read_all().to_pylist()]


def walk_cancel(page, watch):
    """A statement is ended by who sent it, and by an operator."""
    operator = page.context.new_page()
    operator.goto(BASE + "/operate")
    rows = operator.locator("#queries tbody tr", has_text="generate_series")
    open_explore(page, ENDLESS)
    page.click("#run")
    expect(rows).to_have_count(1)
    page.click("#cancel")
    expect(page.locator("#told")).to_have_text("Cancelled.")
    # Nobody waits for it, so that it does not go on.
    expect(rows).to_have_count(0)
    watch.allow(499)
    page.click("#run")
    expect(rows).to_have_count(1)
    rows.get_by_role("button").click()
    expect(operator.locator("#queries-area .order")).to_contain_text("was ended")
    expect(page.locator("#failure")).to_contain_text("cancel")
    expect(rows).to_have_count(0)
    operator.close()


def walk_live(page):
    open_explore(page, "SELECT count(*) AS shares FROM shares")
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
    cell = page.locator("#rows tbody td")
    expect(cell).to_have_text(re.compile(r"^\d+$"))
    expect(page.locator("#told")).to_contain_text("missed")
    expect(page.locator("#result-area")).not_to_have_attribute("data-stale", "")
    expect(page.locator("#live")).to_have_attribute("aria-pressed", "true")
    before = cell.inner_text()
    page.wait_for_function("before => document.querySelector('#rows tbody td').innerText !== before", arg=before, timeout=PATIENCE_S * 1000)
    page.click("#live")
    page.unroute("**/api/v1/sql/live?*")


def walk_streams(page):
    """Names, states and rates do not wait for what is slower; and a stream of which nothing is known blanks no other."""
    page.route("**/api/v1/streams", lambda route: route.fulfill(json={"streams": []}))
    page.goto(BASE + "/operate")
    expect(page.locator("#ribbon li[data-state]").first).to_be_visible()
    shares, blocks = stream_cells(page, "shares"), stream_cells(page, "blocks")
    for cell in (1, 2):
        expect(shares.nth(cell)).to_have_text(re.compile(r"^[^–\s]"))
    for cell in (3, 4, 5, 6):
        expect(shares.nth(cell)).to_have_text("–")
    page.unroute("**/api/v1/streams")
    for cells in (shares, blocks):
        expect(cells.nth(3)).to_have_text(re.compile(r"^\d"))
        expect(cells.nth(5)).to_contain_text("ago")
    # One that never had a row has no age.
    expect(stream_cells(page, "worker_shares").nth(3)).to_have_text("0")
    expect(stream_cells(page, "worker_shares").nth(5)).to_have_text("–")

    def hide_blocks(route):
        answer = route.fetch()
        if not answer.ok:
            return route.fulfill(response=answer)
        known = answer.json()
        row = next(row for row in known["streams"] if row["stream"] == "blocks")
        row.update({name: None for name in row if name != "stream"} | {"reason": "it is slow"})
        route.fulfill(response=answer, json=known)

    page.route("**/api/v1/streams", hide_blocks)
    expect(blocks.nth(4)).to_have_text(re.compile("old$"))
    expect(blocks.nth(3).locator(".unknown")).to_have_text(re.compile(r"^\d"))
    assert shares.nth(3).locator(".unknown").count() == 0
    page.unroute("**/api/v1/streams", hide_blocks)
    expect(blocks.nth(3).locator(".unknown")).to_have_count(0)


def walk_operate(page, miner):
    walk_streams(page)
    # With the keyboard alone an address is kept out, and let in again.
    press_to(page, "one.id === 'ban-address'")
    page.keyboard.type("203.0.113.9")
    page.keyboard.press("Tab")
    page.keyboard.type("a trial")
    page.keyboard.press("Enter")
    row = page.locator("#bans tbody tr", has_text="203.0.113.9")
    expect(row).to_contain_text("a trial")
    press_to(page, "one.ariaLabel === 'Lift the ban of 203.0.113.9'", "Shift+Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "confirm-yes"
    page.keyboard.press("Enter")
    expect(row).to_have_count(0)
    assert ask_as(page, "/api/v1/bans")["bans"] == []
    # Payments are held by typing the end of the account, and nothing else will do.
    for order, is_held in (("hold", True), ("resume", False)):
        page.fill("#hold-account", miner)
        page.click(f"#hold button[value={order}]")
        page.fill("#confirm-word", "what")
        expect(page.locator("#confirm-yes")).to_be_disabled()
        page.fill("#confirm-word", miner[-6:])
        page.click("#confirm-yes")
        expect(page.locator("#payments-area .order")).to_have_attribute("data-state", "good")
        note(f"{order} is ordered")
        until(lambda: bool([one for one in ask("/api/v1/payments/state")["held"] if one["account"] == miner]) == is_held, f"{order} has no effect")
    page.fill("#why-what", "demo")
    page.click("#why button")
    expect(page.locator("#why-answer")).to_contain_text("It is connected")
    # What was committed and looked after, and when.
    for table in ("#pipelines", "#storage"):
        expect(page.locator(f"{table} tbody tr", has_text="ago").first).to_be_attached()
    # One that was given no wallet address arrives and is refused.
    refused_miner = refuse_miner()
    until(lambda: "is refused" in why(page, refused_miner), "nobody knows why a miner is refused")


def refuse_miner():
    """A miner that the pool does not let in; what it calls itself."""
    login = {"id": 1, "jsonrpc": "2.0", "method": "login", "params": {"login": "no-wallet", "pass": "x", "agent": "walk/1"}}
    with socket.create_connection(("127.0.0.1", int(stratum)), PATIENCE_S) as miner:
        miner.sendall(json.dumps(login).encode() + b"\n")
        assert b"error" in miner.recv(4096)
    return "no-wallet"


def why(page, what):
    page.evaluate("document.querySelector('#why-answer').replaceChildren()")
    page.fill("#why-what", what)
    page.click("#why button")
    answer = page.locator("#why-answer .notice")
    expect(answer).to_be_visible()
    return answer.inner_text()


def walk_accounts(page, watch):
    # A wrong password of one's own makes nothing; the token that is made works until it is revoked.
    watch.check()
    make(page, "another sentence of words")
    expect(page.locator("#accounts-area .order")).to_have_attribute("data-state", "bad")
    # The browser writes down that the server said no.
    until(lambda: page.wait_for_timeout(10) or watch.complaints, "no complaint")
    complaint = watch.complaints.pop()
    assert "status of 401" in complaint, complaint
    expect(page.locator("#accounts tbody")).not_to_contain_text("reports")
    make(page, PASSWORD)
    token = page.locator("#secret-text").inner_text()
    assert token.startswith("hf_viewer_"), token
    row = page.locator("#accounts tbody tr", has_text="reports")
    expect(row).to_contain_text("viewer")
    bearer = urllib.request.Request(BASE + "/api/v1/me", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(bearer) as answer:
        assert json.load(answer)["name"] == "reports"
    row.get_by_role("button").click()
    page.fill("#confirm-word", "reports")
    page.click("#confirm-yes")
    expect(row).to_have_count(0)
    until(lambda: refused(bearer), "a revoked token is let in")


def make(page, own_password):
    page.select_option("#add-kind", "token")
    page.fill("#add-name", "reports")
    page.fill("#add-password", own_password)
    page.click("#add-account button[type=submit]")


def refused(request):
    try:
        urllib.request.urlopen(request).close()
    except urllib.error.HTTPError as error:
        return error.code == 401
    return False


def ask_as(page, path):
    return page.evaluate("path => fetch(path).then(answer => answer.json())", path)


def main():
    demo, token, miner = started()
    try:
        with sync_playwright() as playwright:
            browser = walks.launch(playwright)
            context = browser.new_context(accept_downloads=True)
            context.set_default_timeout(PATIENCE_S * 1000)
            watch = Watch(context, BASE)
            page = context.new_page()
            walk_pool(page)
            note("walk_pool")
            watch.check()
            become_admin(page, token, watch)
            note("become_admin")
            watch.check()
            walk_explore(page, watch)
            note("walk_explore")
            watch.check()
            walk_cancel(page, watch)
            note("walk_cancel")
            walk_live(page)
            note("walk_live")
            watch.check()
            walk_operate(page, miner)
            note("walk_operate")
            walk_accounts(page, watch)
            note("walk_accounts")
            miner_page.walk_miner(page, BASE, miner)
            miner_page.keep_focus(page)
            note("walk_miner")
            watch.check()
            page.goto("about:blank")
            pages = [("pool", "/pool"), ("miner", f"/miner/{miner}"), ("explore", "/explore"), ("operate", "/operate"), ("sign-in", "/sign-in"), ("mine", "/mine")]
            walks.picture(browser, BASE, context.storage_state(), axe, shots, lambda theme: pages, came)
            note("picture")
            browser.close()
    finally:
        demo.end()
    note("ended")
    print("console: all is well")


main()

"""The operator's page: streams, orders about bans and payments, why a miner is not let in, and accounts."""
import json, re, socket, urllib.error, urllib.request

from playwright.sync_api import expect

from browser import PATIENCE_S, known, note, press_to, until
from pool_server import refuse_sign_in, sign_in


def stream_cells(page, stream):
    """The cells of a stream: name, state, rate, acknowledged, lag, newest row, version, commit."""
    name = page.locator("td:first-child", has_text=re.compile(f"^{stream}$"))
    return page.locator("#streams tbody tr", has=name).locator("td")


def walk_streams(tab):
    """Names, states and rates do not wait for what is slower; and a stream of which nothing is known blanks no other."""
    sign_in(tab)
    page = tab.page
    page.route("**/api/v1/streams", lambda route: route.fulfill(json={"streams": []}))
    tab.open("/operate")
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
    hide_a_stream(page, shares, blocks)
    # What was committed and looked after, and when.
    for table in ("#pipelines", "#storage"):
        expect(page.locator(f"{table} tbody tr", has_text="ago").first).to_be_attached()


def hide_a_stream(page, shares, blocks):
    def hide_blocks(route):
        answer = route.fetch()
        if not answer.ok:
            return route.fulfill(response=answer)
        streams = answer.json()
        row = next(row for row in streams["streams"] if row["stream"] == "blocks")
        row.update({name: None for name in row if name != "stream"} | {"reason": "it is slow"})
        route.fulfill(response=answer, json=streams)

    page.route("**/api/v1/streams", hide_blocks)
    expect(blocks.nth(4)).to_have_text(re.compile("old$"))
    expect(blocks.nth(3).locator(".unknown")).to_have_text(re.compile(r"^\d"))
    expect(shares.nth(3).locator(".unknown")).to_have_count(0)
    page.unroute("**/api/v1/streams", hide_blocks)
    expect(blocks.nth(3).locator(".unknown")).to_have_count(0)


def ban_by_keyboard(tab):
    """With the keyboard alone an address is kept out, and let in again."""
    page = tab.page
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
    until(lambda: ask_as(page, "/api/v1/bans").get("bans") == [], "the ban is not lifted")


def hold_and_resume(tab):
    """Payments are held by typing the end of the account, and nothing else will do."""
    pool = tab.pool
    for order, is_held in (("hold", True), ("resume", False)):
        until(lambda: is_done(tab.page, order, pool.miner), f"{order} is not done")
        note(f"{order} is ordered")
        held = lambda: [one["account"] for one in pool.ask("/api/v1/payments/state")["held"]]
        until(lambda: (pool.miner in held()) == is_held, f"{order} has no effect")


def is_done(page, order, account):
    """Gives an order about the payments of an account; whether the server took it."""
    page.evaluate("document.querySelector('#payments-area .order')?.remove()")
    page.fill("#hold-account", account)
    page.click(f"#hold button[value={order}]")
    page.fill("#confirm-word", "what")
    expect(page.locator("#confirm-yes")).to_be_disabled()
    page.fill("#confirm-word", account[-6:])
    page.click("#confirm-yes")
    answer = page.locator("#payments-area .order")
    expect(answer).to_be_visible()
    return answer.get_attribute("data-state") == "good"


def refuse_miner(pool):
    """A miner that the pool does not let in; what it calls itself."""
    login = {"id": 1, "jsonrpc": "2.0", "method": "login", "params": {"login": "no-wallet", "pass": "x", "agent": "walk/1"}}
    with socket.create_connection(("127.0.0.1", int(pool.stratum)), PATIENCE_S) as miner:
        miner.sendall(json.dumps(login).encode() + b"\n")
        assert b"error" in miner.recv(4096)
    return "no-wallet"


def why(page, what):
    """What the page says of a miner's connections."""
    page.evaluate("document.querySelector('#why-answer').replaceChildren()")
    page.fill("#why-what", what)
    page.click("#why button")
    answer = page.locator("#why-answer .notice")
    expect(answer).to_be_visible()
    return answer.inner_text()


def walk_orders(tab):
    sign_in(tab)
    page = tab.page
    ban_by_keyboard(tab)
    hold_and_resume(tab)
    # One that arrives and is refused is known, and so is one that never arrived.
    refused_miner = refuse_miner(tab.pool)
    until(lambda: "is refused" in why(page, refused_miner), "nobody knows why a miner is refused")
    until(lambda: "Nothing of it arrived" in why(page, "never-seen"), "a miner that never came is not said to be one")
    expect(page.locator("#sessions tbody")).to_contain_text("No connection of a day fits")


def walk_accounts(tab):
    """A wrong password lets nobody in and makes nothing; the token that is made works until it is revoked."""
    refuse_sign_in(tab)
    sign_in(tab)
    page, watch, base = tab.page, tab.watch, tab.pool.base
    known(page, "f-queries")
    watch.check()
    watch.allow(401)
    until(lambda: not is_made(page, "another sentence of words") and not watch.allowed, "a wrong password is not refused")
    expect(page.locator("#accounts-area .order")).to_have_attribute("data-state", "bad")
    expect(page.locator("#accounts tbody")).not_to_contain_text("reports")
    until(lambda: is_made(page, tab.pool.password), lambda: page.locator("#accounts-area .order").inner_text())
    expect(page.locator("#secret-text")).to_have_text(re.compile("^hf_viewer_"))
    token = page.locator("#secret-text").inner_text()
    row = page.locator("#accounts tbody tr", has_text="reports")
    expect(row).to_contain_text("viewer")
    bearer = urllib.request.Request(base + "/api/v1/me", headers={"Authorization": f"Bearer {token}"})
    until(lambda: name_of(bearer) == "reports", "a token is not let in")
    row.get_by_role("button").click()
    page.fill("#confirm-word", "reports")
    page.click("#confirm-yes")
    expect(row).to_have_count(0)
    until(lambda: name_of(bearer) is None, "a revoked token is let in")


def is_made(page, own_password):
    """Asks for a token; whether there is one."""
    page.select_option("#add-kind", "token")
    page.fill("#add-name", "reports")
    page.fill("#add-password", own_password)
    page.click("#add-account button[type=submit]")
    expect(page.locator("#accounts-area .order")).to_be_visible()
    # The browser writes down what the server refused.
    page.wait_for_timeout(300)
    return page.locator("#secret-text").count() == 1


def name_of(request):
    """Whose request it is; nobody's when it is refused."""
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["name"]
    except urllib.error.HTTPError as error:
        return None if error.code == 401 else f"status {error.code}"


def ask_as(page, path):
    """What the server answers the signed-in visitor."""
    return page.evaluate("path => fetch(path).then(answer => answer.json())", path)

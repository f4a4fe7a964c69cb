"""Walks the pages of a mine: registers one, sends what its meters measured, and looks at what the pages make of it.

Part of console.py, which has the running server and the browser.
"""
import json, re, time, urllib.request

from playwright.sync_api import expect

MINUTE = 60_000_000
# Seconds of samples, how far apart they are, and where the gap and the fault are: seconds before now.
PAST_S, STEP_S = 26 * 3600, 120
GAP_S = (9 * 3600, 7 * 3600)
FAULT_S = (2400, 1200)
NORMAL_W, FAULT_W = 1_210_000, 1_460_000
KNOWN = re.compile(r"^[^–\s]")


class Mine:
    """A server, and what is registered at it."""

    def __init__(self, base, patience_s):
        self.base, self.patience_s = base, patience_s

    def read(self, path):
        with urllib.request.urlopen(self.base + path, timeout=60) as answer:
            return json.load(answer)

    def send_samples(self):
        """What two meters measured, as a program of this machine; the main one with a gap and a fault."""
        now = int(time.time())
        lines = []
        for at in range(now - PAST_S, now, STEP_S):
            before = now - at
            noise = at * 7919 % 1013 / 1013
            if not GAP_S[0] > before > GAP_S[1]:
                level = FAULT_W if FAULT_S[0] > before > FAULT_S[1] else NORMAL_W
                lines.append({"event_time": at * 1_000_000, "site": "north", "meter": "main", "power_w": level + 9_000 * noise})
            lines.append({"event_time": at * 1_000_000, "site": "north", "meter": "pool-meter", "power_w": 870_000 + 6_000 * noise})
        for meter, watts in (("main", NORMAL_W), ("pool-meter", 872_000)):
            lines.append({"event_time": now * 1_000_000, "site": "north", "meter": meter, "power_w": watts})
        for first in range(0, len(lines), 500):
            body = "\n".join(json.dumps(line) for line in lines[first:first + 500]).encode()
            request = urllib.request.Request(f"{self.base}/api/v1/ingest/energy", data=body, headers={"Content-Type": "application/x-ndjson"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.status < 300, answer.status

    def until(self, fact, what):
        deadline = time.monotonic() + self.patience_s
        while True:
            found = fact()
            if found:
                return found
            assert time.monotonic() < deadline, what
            time.sleep(0.3)


def asked_as(page, method, path, body=None, headers=None):
    """A request of the signed-in visitor, beside the page's own."""
    script = """async ([method, path, body, headers]) => {
        const answer = await fetch(path, { method, headers: { "Content-Type": "application/json", ...headers }, body: body && JSON.stringify(body) });
        return { status: answer.status, etag: answer.headers.get("ETag"), body: await answer.json() };
    }"""
    return page.evaluate(script, [method, path, body, headers or {}])


def register(page, kind, body):
    answer = asked_as(page, "POST", f"/api/v1/{kind}", body)
    assert answer["status"] == 201, (kind, answer)


def walk_registry(page, mine, pool):
    """The first by its form, which names what is missing; the others as programs would."""
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

    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3 * 86400))
    register(page, "sites", {"id": "north", "name": "North", "operator": "fjord", "location": "1, Fjord road", "country": "NO", "time_zone": "Europe/Oslo", "connection_kw": 1800, "status": "active"})
    register(page, "pools", {"id": pool, "name": "Demo pool", "operator": "fjord", "location": "North", "site": "north", "power_limit_kw": 900, "energy_limit_kwh": 40000, "energy_period": "day", "algorithm": "rx/0", "status": "active"})
    register(page, "meters", {"id": "main", "serial_number": "EM-1", "site": "north", "measures": "site", "calibration_due_at": now})
    register(page, "meters", {"id": "pool-meter", "serial_number": "EM-2", "site": "north", "pool": pool, "measures": "pool"})
    for number in range(60):
        register(page, "machines", {"id": f"rig-{number:02}", "site": "north", "pool": pool, "model": "S21", "serial_number": f"SN-{number}", "rated_power_w": 3500, "status": "maintenance" if number % 4 == 3 else "active"})
    register(page, "allocations", {"id": "north-2026", "site": "north", "power_kw": 1500, "energy_kwh": 45000, "period": "day", "valid_from": now, "permit": "NVE 118"})
    register(page, "inspections", {"id": "first", "site": "north", "type": "routine", "status": "done", "planned_at": now, "started_at": now, "findings": "A fire door was blocked.", "evidence": "ab" * 32, "score_pct": 86})


def walk_lists(page, mine):
    """A link holds the filter, and pages follow each other."""
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


def walk_conflict(page, mine):
    """Two change a site at once: both values are shown, and nothing is lost."""
    site = "/api/v1/sites/north"
    page.goto(f"{mine.base}/registry/sites/north?edit")
    expect(page.locator("#f-name")).to_have_value("North")
    seen = asked_as(page, "GET", site)
    theirs = {name: value for name, value in seen["body"].items() if name not in ("id", "version", "updated_at", "updated_by")}
    theirs |= {"connection_kw": 2000, "supplier": "Statkraft"}
    assert asked_as(page, "PUT", site, theirs, {"If-Match": seen["etag"]})["status"] == 200
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
    now = asked_as(page, "GET", site)["body"]
    assert (now["name"], now["connection_kw"], now["supplier"], now["version"]) == ("North mine", 2000, "Statkraft", 3), now
    newest = page.locator("#history li").first
    expect(newest).to_contain_text("version 3")
    expect(newest.locator("del")).to_have_text("North")
    expect(newest.locator("ins")).to_have_text("North mine")


def walk_energy(page, mine, pool):
    page.goto(f"{mine.base}/energy?id=north")
    expect(page.locator("#f-power")).to_contain_text(re.compile(r"^1\.2[12]"))
    for name in ("f-demand", "f-today"):
        expect(page.locator(f"#{name}")).to_have_text(KNOWN)
    # Eight hours ago nothing was measured for two: the line has a gap.
    expect(page.locator("#power-area svg polyline[stroke='#C25A12']")).to_have_count(2)
    expect(page.locator("#power-area svg text", has_text="limit 1.5")).to_be_attached()
    for bars in ("#hours-area", "#days-area"):
        expect(page.locator(f"{bars} svg rect[fill='#C25A12']").first).to_be_attached()
    expect(page.locator("#allocations tbody tr")).to_contain_text("north-2026")
    expect(page.locator("#allocations .gauge[data-state=warn]").first).to_be_visible()
    page.click("#hours-area summary")
    expect(page.locator("#hours-area tbody")).to_contain_text("kWh")
    page.select_option("#of", "pool")
    expect(page.locator("#title")).to_have_text(f"Energy of {pool}")
    expect(page.locator("#f-power")).to_contain_text(re.compile(r"^87\d"))
    expect(page.locator("#allocations .gauge[data-state=bad]").first).to_be_visible()
    expect(page.locator("#f-efficiency")).to_contain_text("J/TH")
    assert "of=pool" in page.url, page.url


def walk_anomalies(page, mine):
    rows = mine.until(lambda: mine.read("/api/v1/anomalies?site=north")["rows"], "no anomaly")
    page.goto(f"{mine.base}/anomalies?state=&site=north")
    expect(page.locator("#list tbody tr")).to_have_count(len(rows))
    page.locator("#list tbody a", has_text="main/power_w").first.click()
    expect(page.locator("#f-value")).to_contain_text("1.4")
    expect(page.locator("#f-expected")).to_contain_text("1.2")
    expect(page.locator("#chart-area svg polygon[fill='#888888']")).to_have_count(1)
    expect(page.locator("#chart-area svg circle").first).to_be_attached()
    return page.url


def walk_mine(page, mine):
    page.goto(f"{mine.base}/mine")
    expect(page.locator("#f-power")).to_contain_text(re.compile(r"^1\.2[12]"))
    for name in ("f-allocation", "f-hashrate", "f-anomalies", "f-age"):
        expect(page.locator(f"#{name}")).to_have_text(KNOWN)
    expect(page.locator("#attention tbody")).to_contain_text("calibration is due")
    expect(page.locator("#attention tbody")).to_contain_text("of its power")
    expect(page.locator("#sites tbody")).to_contain_text("45 of 60 active")
    page.goto(f"{mine.base}/compliance")
    expect(page.locator("#inspections tbody")).to_contain_text("A fire door was blocked.")
    expect(page.locator("#inspections code")).to_have_attribute("title", "ab" * 32)
    expect(page.locator("#violations tbody")).to_have_text(KNOWN)


def walk_keys(page, mine):
    """Everything without a pointer; and single letters can be switched off."""
    page.goto(f"{mine.base}/registry/meters")
    expect(page.locator("#list tbody a").first).to_be_visible()
    for key, reached in (("j", "main"), ("j", "pool-meter"), ("k", "main")):
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.textContent") == reached, key
    # A row that comes, or changes, takes the focus from nobody.
    site = "/api/v1/meters/main"
    seen = asked_as(page, "GET", site)
    given = {name: value for name, value in seen["body"].items() if name not in ("id", "version", "updated_at", "updated_by")}
    assert asked_as(page, "PUT", site, given | {"accuracy_class": "0.5S"}, {"If-Match": seen["etag"]})["status"] == 200
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


def begin(page, mine, pool):
    """Registers a mine and sends what it measured. What follows from it is stated when a minute is over: walk other pages meanwhile."""
    walk_registry(page, mine, pool)
    mine.send_samples()


def walk(page, mine, pool):
    """All of it; gives the addresses of the pages that are to be photographed."""
    walk_lists(page, mine)
    walk_conflict(page, mine)
    anomaly = walk_anomalies(page, mine).removeprefix(mine.base)
    walk_energy(page, mine, pool)
    walk_mine(page, mine)
    walk_keys(page, mine)
    return {"mine": "/mine", "energy": "/energy?id=north", "anomalies": "/anomalies?state=", "anomaly": anomaly, "compliance": "/compliance", "registry": "/registry/meters", "resource": "/registry/sites/north", "form": "/registry/sites/north?edit"}

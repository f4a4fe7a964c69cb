"""The page of a miner: its figures, and whether a payout is what the pool signed."""
import json, re, time

from playwright.sync_api import expect

from browser import PATIENCE_S, known, press_to


def walk_miner(page, base, miner):
    page.goto(f"{base}/miner/{miner}")
    for name in ("f-hashrate", "f-balance", "f-accepted"):
        known(page, name)
    expect(page.locator("#workers tbody")).to_contain_text("demo")
    expect(page.locator("#workers tbody")).to_contain_text("OK")
    # A server that has too much to do may not answer; nobody is refused for that, and whoever looks clicks again.
    expect(page.locator("#payouts tbody button").first).to_be_visible()
    # With the keyboard alone.
    press_to(page, "one.ariaLabel?.startsWith('Verify the payout of block')")
    assert "Verified" in verify(page, lambda: page.keyboard.press("Enter")), page.locator("#verdict").inner_text()
    assert page.locator("#verdict .checks li[data-state=bad]").count() == 0
    assert page.locator("#verdict .checks li[data-state=good]").count() >= 7
    # The proof that it made holds by itself, and no forged one does.
    page.click("#verify-area details summary")
    proof = json.loads(page.input_value("#proof"))
    forged = {
        "amount": {**proof, "amount_atomic": str(int(proof["amount_atomic"]) - 1)},
        "root": {**proof, "merkle_root": "ab" * 32},
        "reward": {**proof, "reward_atomic": str(int(proof["reward_atomic"]) + 1)},
        "signature": {**proof, "signature": "00" * 64},
        "key": {**proof, "public_key": "11" * 32},
        "miner": {**proof, "miner": proof["miner"][::-1]},
        "no proof": {"version": 1},
    }
    for name, text in [("own", proof), *forged.items(), ("own", proof)]:
        page.fill("#proof", json.dumps(text))
        page.evaluate("document.querySelector('#verdict').replaceChildren()")
        page.click("#check-proof")
        word = "Verified" if name == "own" else "Refused"
        expect(page.locator("#verdict-word"), name).to_contain_text(word)
    believe_no_lie(page)
    # A key that the visitor knows decides, whatever the server says.
    page.fill("#key", "22" * 32)
    page.click("#check-proof")
    expect(page.locator("#verdict-word")).to_contain_text("Refused")


def verify(page, press):
    """What the page says of a payout in the end: a server that has too much to do may not answer, and then nothing was checked."""
    word, deadline = page.locator("#verdict-word"), time.monotonic() + PATIENCE_S
    while True:
        page.evaluate("document.querySelector('#verdict').replaceChildren()")
        press()
        expect(word).to_have_text(re.compile("Verified|Refused|Not wholly checked"))
        if "Not wholly" not in word.inner_text():
            return word.inner_text()
        assert time.monotonic() < deadline, page.locator("#verdict").inner_text()


def believe_no_lie(page):
    """A server that shows another window than the one that was signed is found out."""
    def more(row, name):
        row[name] = str(int(row[name]) + 1)

    def left_out(window):
        window["windows"][0]["miners"] += 1

    lies = {
        "amount": lambda window: more(window["accounts"][0], "amount_atomic"),
        "weight": lambda window: more(window["accounts"][0], "weight"),
        "reward": lambda window: more(window["windows"][0], "reward_atomic"),
        "root": lambda window: window["windows"][0].update(merkle_root="ab" * 32),
        "fee": lambda window: window["windows"][0].update(fee_bp=window["windows"][0]["fee_bp"] + 1),
        "a row that is left out": left_out,
    }
    told = {}

    def lie(route):
        answer = route.fetch()
        if not answer.ok:
            return route.fulfill(response=answer)
        window = answer.json()
        told["lie"](window)
        route.fulfill(response=answer, json=window)

    page.route("**/api/v1/blocks/*/payouts?*", lie)
    for name, told["lie"] in lies.items():
        said = verify(page, lambda: page.locator("#payouts tbody button").first.click())
        assert "Refused" in said, (name, said)
        assert page.locator("#verdict .checks li[data-state=bad]").count() > 0, name
    page.unroute("**/api/v1/blocks/*/payouts?*")
    said = verify(page, lambda: page.locator("#payouts tbody button").first.click())
    assert "Verified" in said, said


def keep_focus(page):
    # Rows that come anew leave the focus on the button of the same row, though all have the same text.
    focused = page.evaluate("""async () => {
      const { fill } = await import(document.querySelector("script[src$='/keys.js']").src.replace("keys.js", "table.js"));
      const table = document.body.appendChild(document.createElement("table"));
      const button = (row) => Object.assign(document.createElement("button"), { textContent: "Verify", ariaLabel: `Verify ${row}` });
      fill(table, [{ name: "Proof", of: button }], [1, 2]);
      table.querySelectorAll("button")[1].focus();
      fill(table, [{ name: "Proof", of: button }], [3, 1, 2]);
      const label = document.activeElement.ariaLabel;
      table.remove();
      return label;
    }""")
    assert focused == "Verify 2", focused

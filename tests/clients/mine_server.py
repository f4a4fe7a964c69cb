"""The mine that walks look at: a server, what is registered there, and what its meters measured."""
import json, re, time, urllib.error, urllib.request
from dataclasses import dataclass

import browser as walks
from browser import BUSY, Watch, read_json, until

POOL = "fjord-pool"
# Seconds of samples, how far apart they are, and where the gap and the fault are: seconds before now.
PAST_S, STEP_S = 26 * 3600, 120
GAP_S = (9 * 3600, 7 * 3600)
FAULT_S = (2400, 1200)
NORMAL_W, FAULT_W = 1_210_000, 1_460_000
# A figure that is there.
KNOWN = re.compile(r"^[^–\s]")
# Where no day begins while the pages are looked at: what was sent is used today.
ZONE = "Europe/Oslo" if time.gmtime().tm_hour < 21 else "Asia/Tokyo"


@dataclass
class Mine:
    """A running server, whose admin ann has this password, and the page of a browser that looks at it."""

    base: str
    password: str
    axe: str
    shots: str
    page: object
    watch: Watch

    def read(self, path):
        return read_json(self.base + path)

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
        self.send("energy", lines)
        self.send("hashrate", [{"event_time": at * 1_000_000, "pool": POOL, "miner": "fjord", "worker": "rig-00", "hashrate_hs": 2e14, "source": "miner"} for at in range(now - 3600, now + 1, 30)])

    def send_temperature(self, celsius):
        self.send("sensors", [{"event_time": int(time.time() * 1e6), "site": "north", "sensor": "hall", "quantity": "temperature_c", "value": celsius}])

    def send(self, stream, lines):
        for first in range(0, len(lines), 500):
            body = "\n".join(json.dumps(line) for line in lines[first:first + 500]).encode()
            until(lambda: self.is_taken(stream, body), f"rows of {stream} are not taken")

    def is_taken(self, stream, body):
        request = urllib.request.Request(f"{self.base}/api/v1/ingest/{stream}", data=body, headers={"Content-Type": "application/x-ndjson"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status < 300
        except urllib.error.HTTPError as error:
            assert error.code in BUSY, (error.code, error.read())
            return False

    def ask_as(self, method, path, body=None, headers=None):
        """A request of the signed-in visitor, beside the page's own; a server that has too much to do is asked again."""
        script = """async ([method, path, body, headers]) => {
            const answer = await fetch(path, { method, headers: { "Content-Type": "application/json", ...headers }, body: body && JSON.stringify(body) });
            return { status: answer.status, etag: answer.headers.get("ETag"), body: await answer.json() };
        }"""

        def answer():
            found = self.page.evaluate(script, [method, path, body, headers or {}])
            return None if found["status"] in BUSY else found

        return until(answer, f"{path} is not answered")

    def read_as(self, path):
        """The same as the signed-in visitor."""
        answer = self.ask_as("GET", path)
        assert answer["status"] == 200, answer
        return answer["body"]

    def change_as(self, path, change):
        """Changes some fields of what is registered, as somebody else would beside the page."""
        seen = self.ask_as("GET", path)
        fields = {name: value for name, value in seen["body"].items() if name not in ("id", "version", "updated_at", "updated_by")}
        answer = self.ask_as("PUT", path, fields | change, {"If-Match": seen["etag"]})
        assert answer["status"] == 200, answer

    def register(self, kind, body):
        answer = self.ask_as("POST", f"/api/v1/{kind}", body)
        assert answer["status"] == 201, (kind, answer)

    def sign_in(self):
        walks.sign_in(self.page, self.base, self.password, "/registry")

    def register_operator(self):
        self.register("operators", {"id": "fjord", "name": "Fjord Mining", "country": "NO", "status": "active"})

    def register_site(self):
        """A site of the operator, its pool, meters and machines, what it may use, and an inspection."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3 * 86400))
        self.register("sites", {"id": "north", "name": "North", "operator": "fjord", "location": "1, Fjord road", "country": "NO", "time_zone": ZONE, "connection_kw": 1800, "status": "active", "controller": "https://north.example:5000/"})
        self.register("pools", {"id": POOL, "name": "Demo pool", "operator": "fjord", "location": "North", "site": "north", "power_limit_kw": 900, "energy_limit_kwh": 40000, "energy_period": "day", "algorithm": "rx/0", "status": "active"})
        self.register("meters", {"id": "main", "serial_number": "EM-1", "site": "north", "measures": "site", "calibration_due_at": now})
        self.register("meters", {"id": "pool-meter", "serial_number": "EM-2", "site": "north", "pool": POOL, "measures": "pool"})
        for number in range(60):
            self.register("machines", {"id": f"rig-{number:02}", "site": "north", "pool": POOL, "model": "S21", "serial_number": f"SN-{number}", "rated_power_w": 3500, "status": "maintenance" if number % 4 == 3 else "active"})
        self.register("allocations", {"id": "north-2026", "site": "north", "power_kw": 1500, "energy_kwh": 45000, "period": "day", "valid_from": now, "permit": "NVE 118"})
        self.register("inspections", {"id": "first", "site": "north", "type": "routine", "status": "done", "planned_at": now, "started_at": now, "findings": "A fire door was blocked.", "evidence": "ab" * 32, "score_pct": 86})

    def begin(self):
        """A mine that is registered and measured, and ann signed in."""
        self.sign_in()
        self.register_operator()
        self.register_site()
        self.send_samples()

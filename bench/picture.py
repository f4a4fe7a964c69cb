"""The picture of the README: a real demo, its status line, its report and three answers, drawn as an SVG. Standard library only.

usage: python3 bench/picture.py [--seconds N] [--out docs/demo.svg]
The binary is target/debug/headframe or $HEADFRAME; `make run` builds it. Nothing of the text is made up: it is what the
programs printed in this run, cut to the width of the picture."""
import argparse, html, os, pathlib, re, subprocess, sys, tempfile, time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from ours import free_port

COLUMNS, LINE, CHARACTER, MARGIN = 112, 17, 7.8, 16
QUESTIONS = [
    "SELECT worker, outcome, count(*) AS shares, sum(difficulty) AS work FROM shares GROUP BY 1, 2",
    "SELECT step, count(DISTINCT block_hash) AS blocks, sum(amount_atomic) AS atomic FROM payouts GROUP BY 1 ORDER BY 1",
    "SELECT step, count(*) AS payments, sum(sent_atomic) AS atomic FROM payments GROUP BY 1 ORDER BY 1",
]


def answers(binary, url):
    """Each question as it is typed, and the answer of `headframe sql`."""
    for question in QUESTIONS:
        done = subprocess.run([binary, "sql", "--url", url, question], capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            yield f'$ headframe sql "{question}"'
            yield from done.stdout.rstrip().splitlines()
            yield ""


def run(binary, seconds):
    """(status line, answers, report) of one demo."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="headframe-picture-") as folder:
        said = pathlib.Path(folder) / "said"
        with open(said, "w") as out:
            demo = subprocess.Popen([binary, "demo", "--data", f"{folder}/demo", "--listen", f"127.0.0.1:{port}", "--stratum", f"127.0.0.1:{free_port()}",
                                     "--for", f"{seconds}s"], stdout=out, stderr=subprocess.DEVNULL)
        try:
            asked, deadline = [], time.monotonic() + seconds + 120
            while demo.poll() is None and time.monotonic() < deadline:
                time.sleep(2)
                asked = list(answers(binary, f"http://127.0.0.1:{port}")) or asked
        finally:
            if demo.poll() is None:
                demo.terminate()
            demo.wait(timeout=120)
        lines = said.read_text().splitlines()
    status = [line for line in lines if line.startswith("height ")]
    if not status or not asked:
        raise SystemExit("picture: the demo showed nothing; run `make run` to see why:\n" + "\n".join(lines[-10:]))
    start = next(number for number, line in enumerate(lines) if re.match(r"after \d+ s", line))
    report = [line.replace(folder, "…") for line in lines[start:start + 11]]
    return status[-1], asked, report


def fitted(text):
    """The line cut to the width, between words where that is possible."""
    if len(text) <= COLUMNS:
        return text
    return text[:COLUMNS - 1].rstrip() + "…"


def svg(lines):
    width, height = COLUMNS * CHARACTER + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    rows = []
    for number, line in enumerate(lines):
        colour = "#7fd962" if line.startswith("$") else "#ffb454" if line.startswith("height ") else "#d5d8da"
        rows.append(f'<text x="{MARGIN}" y="{MARGIN + (number + 0.8) * LINE:.0f}" fill="{colour}" xml:space="preserve">{html.escape(fitted(line))}</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
            f'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13" role="img" aria-label="The demo, its answers in SQL and its report">\n'
            f'<rect width="100%" height="100%" rx="8" fill="#14191f"/>\n' + "\n".join(rows) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--out", default="docs/demo.svg")
    options = parser.parse_args()
    os.chdir(pathlib.Path(__file__).resolve().parent.parent)
    binary = os.environ.get("HEADFRAME", "target/debug/headframe")
    if not os.access(binary, os.X_OK):
        raise SystemExit(f"picture: {binary} is missing; `make run` builds it")
    status, asked, report = run(str(pathlib.Path(binary).resolve()), options.seconds)
    lines = ["$ make run", status, ""] + asked + report
    pathlib.Path(options.out).write_text(svg(lines))
    print(f"picture: {options.out}, {len(lines)} lines")


if __name__ == "__main__":
    main()

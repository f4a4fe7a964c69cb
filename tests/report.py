"""The last lines of `make test`, from nextest's report: times, the slowest tests, and those that passed only on a retry.

usage: report.py JUNIT FLAKY BUILT_S   (the report, the file that gets the names of flaky tests, and the seconds that the build took)
"""
import pathlib, sys
import xml.etree.ElementTree as ElementTree

junit, flaky_file, built_s = sys.argv[1:]
SLOWEST = 10


def cases(report):
    """Each test as its name, seconds, and how often it was tried again; a test that ended well at last is flaky."""
    for suite in report.iter("testsuite"):
        for case in suite.iter("testcase"):
            name = f"{suite.get('name')} {case.get('name')}"
            has_failed = case.find("failure") is not None or case.find("error") is not None
            retries = 0 if has_failed else len(case.findall("flakyFailure")) + len(case.findall("flakyError"))
            yield name, float(case.get("time")), retries, has_failed


def main():
    report = ElementTree.parse(junit).getroot()
    found = list(cases(report))
    flaky = [f"{name} ({retries + 1} tries)" for name, _, retries, _ in found if retries]
    failed = [name for name, _, _, has_failed in found if has_failed]
    pathlib.Path(flaky_file).write_text("".join(f"{line}\n" for line in flaky))
    print(f"==> built and linted in {built_s} s, tested in {float(report.get('time')):.0f} s; the slowest tests:")
    for name, seconds, _, _ in sorted(found, key=lambda case: -case[1])[:SLOWEST]:
        print(f"    {seconds:7.1f} s {name}")
    for what, names in (("failed", failed), ("flaky, passed only on a retry", flaky)):
        print(f"==> {what}: {len(names)}")
        for name in names:
            print(f"    {name}")
    print(f"{len(found) - len(failed)} passed, {len(failed)} failed")


main()

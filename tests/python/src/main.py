# SPDX-License-Identifier: Apache-2.0
"""Run one module of CPython's test suite and say how each test ended, one line a test."""

import importlib
import sys
import unittest


class Lines(unittest.TextTestResult):
    """What matters of each test: its name and how it ended; the traceback of what failed."""

    def say(self, how, test, text=""):
        print(f"{how} {test.id() if hasattr(test, 'id') else test}{text}", flush=True)

    def addSuccess(self, test):
        self.say("ok", test)

    def addSkip(self, test, reason):
        self.say("skip", test, f": {reason}")

    def addExpectedFailure(self, test, err):
        self.say("ok", test)

    def addUnexpectedSuccess(self, test):
        self.say("FAIL", test, ": unexpected success")

    def addError(self, test, err):
        self.say("FAIL", test, ": " + repr(err[1]).replace("\n", " ")[:300])
        print(self._exc_info_to_string(err, test), file=sys.stderr, flush=True)

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addError(subtest, err)


def main():
    from test import support

    support.verbose = 0
    # No network in this machine; nothing of the desktop.
    support.use_resources = ["subprocess", "cpu", "walltime", "decimal"]
    module = importlib.import_module("test." + sys.argv[1])
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    if len(sys.argv) > 2:
        suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[2:], module)
    with open("/dev/null", "w") as null:
        unittest.TextTestRunner(stream=null, resultclass=Lines).run(suite)
    print("done", flush=True)


if __name__ == "__main__":
    main()

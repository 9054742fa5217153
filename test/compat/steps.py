"""What the flows with hvac share: they print one line of JSON a step, and exit 1 at the first that is not as expected."""

import json
import sys


def step(name, condition, seen=None):
    print(json.dumps({"step": name, "ok": bool(condition)}), flush=True)
    if not condition:
        print(json.dumps({"seen": seen}, default=str), file=sys.stderr)
        sys.exit(1)


def refused(call, error, text):
    """Whether `call` raises `error`, with `text` in what it says."""
    try:
        call()
    except error as reason:
        return text in str(reason)
    return False

"""Whether the service in this container is well: exit code 0 if ``/health`` says so, else 1 with the reason."""

import json
import os
import sys
import urllib.error
import urllib.request

SECONDS = 4


def main() -> int:
    """Ask, and say what is wrong."""
    port = os.environ.get("ZC_HTTP_PORT") or "3099"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{port}/health", timeout=SECONDS) as answer:
            told = json.load(answer)
    except urllib.error.HTTPError as error:  # 503: which part is broken stands in the body
        print(error.read(2000).decode("utf-8", "replace"))
        return 1
    except (OSError, ValueError) as error:
        print(f"no answer at port {port}: {error}")
        return 1
    print(json.dumps(told))
    return 0 if told.get("status") == "ok" else 1


if __name__ == "__main__":
    sys.exit(main())
